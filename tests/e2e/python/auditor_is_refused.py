"""Tries, as the user of client.json, all that this user must not do; ends with 0 if the server refused each by name.

    auditor_is_refused.py CLIENT_FILE

The server tells a refusal to the connection that asked. What it did all the same, the caller sees in the stream.
"""

import asyncio
import json
import sys

import nats

DEADLINE_SECONDS = 20
PUBLISH = [
    # The log itself, and what is told beside it.
    "mm3.commit.vm.0197a5a0-0000-7000-8000-000000000001",
    "mm3.commit.shared",
    "mm3.stored.shared",
    "mm3.refused",
    # Commands, and signs of life.
    "mm3.command.submit",
    "mm3.heartbeat.n1",
    # The stream, and how it is kept.
    "$JS.API.STREAM.CREATE.MM3",
    "$JS.API.STREAM.UPDATE.MM3",
    "$JS.API.STREAM.PURGE.MM3",
    "$JS.API.STREAM.DELETE.MM3",
    "$JS.API.STREAM.MSG.DELETE.MM3",
    "$JS.API.STREAM.RESTORE.MM3",
    "$JS.API.STREAM.SNAPSHOT.MM3",
    "$JS.API.STREAM.LEADER.STEPDOWN.MM3",
    "$JS.API.STREAM.PEER.REMOVE.MM3",
    "$JS.API.STREAM.CREATE.OTHER",
    # Consumers: one's own end by themselves, and nobody ends or halts another's.
    "$JS.API.CONSUMER.DELETE.MM3.another",
    "$JS.API.CONSUMER.PAUSE.MM3.another",
    "$JS.API.CONSUMER.RESET.MM3.another",
    "$JS.API.CONSUMER.UNPIN.MM3.another",
    "$JS.API.CONSUMER.LEADER.STEPDOWN.MM3.another",
    "$JS.API.CONSUMER.LIST.MM3",
    "$JS.API.CONSUMER.NAMES.MM3",
    "$JS.API.CONSUMER.DURABLE.CREATE.MM3.another",
    # The refused commands are for those who answer clients.
    "$JS.API.STREAM.MSG.GET.MM3_REFUSED",
    "$JS.API.DIRECT.GET.MM3_REFUSED",
    "$JS.API.CONSUMER.CREATE.MM3_REFUSED.another",
    "$JS.API.STREAM.PURGE.MM3_REFUSED",
    "$JS.API.STREAM.DELETE.MM3_REFUSED",
    # The account, the server, and other people's answers.
    "$JS.API.ACCOUNT.PURGE.EDGESTACK",
    "$JS.API.STREAM.LIST",
    "$SYS.REQ.SERVER.PING.VARZ",
    "$SYS.REQ.SERVER.PING",
    "_INBOX_engine.x",
    "_INBOX_reader.x",
]
SUBSCRIBE = [
    ">",
    "mm3.>",
    "mm3.commit.>",
    "mm3.command.>",
    "mm3.heartbeat.>",
    "mm3.refused",
    "$JS.API.>",
    "$SYS.>",
    "_INBOX_engine.>",
    "_INBOX_reader.>",
]


async def main(client_file):
    with open(client_file, encoding="utf-8") as file:
        url = json.load(file)["nats_url"]
    words = set()
    heard = asyncio.Event()

    async def hear(error):
        words.add(str(error).lower())
        heard.set()

    connection = await nats.connect(url, error_cb=hear, max_reconnect_attempts=0)
    # The list would be worth nothing if everything were refused.
    info = await connection.request("$JS.API.STREAM.INFO.MM3", b"", timeout=5)
    assert "error" not in json.loads(info.data), info.data
    await connection.subscribe("mm3.stored.>")

    answers = await connection.subscribe(connection.new_inbox())
    for subject in PUBLISH:
        await connection.publish(subject, b"{}", reply=answers.subject)
    for subject in SUBSCRIBE:
        await connection.subscribe(subject)
    await connection.flush()
    refused = [f'permissions violation for publish to "{subject}"' for subject in PUBLISH]
    refused += [f'permissions violation for subscription to "{subject}"' for subject in SUBSCRIBE]

    def missing():
        return [one for one in refused if not any(one.lower() in word for word in words)]

    async def all_refused():
        while missing():
            heard.clear()
            await heard.wait()

    try:
        await asyncio.wait_for(all_refused(), DEADLINE_SECONDS)
    except asyncio.TimeoutError:
        sys.exit("\n".join(f"not told: {one}" for one in missing()))
    assert len(words) == len(refused), f"more was refused: {words}"
    assert answers.pending_msgs == 0, f"{answers.pending_msgs} answers came"
    await connection.close()
    print(f"{len(refused)} refused")


asyncio.run(main(sys.argv[1]))
