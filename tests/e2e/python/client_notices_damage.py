"""Gives docs/examples/follow_log.py a real log that was changed on the way; ends with 0 if it noticed each change.

    client_notices_damage.py FOLDER_OF_EXAMPLES CLIENT_FILE
"""

import asyncio
import copy
import json
import sys

import nats

sys.path.insert(0, sys.argv[1])
from follow_log import STREAM, Chain, Damaged, Schemas, Unreadable, messages  # noqa: E402


async def lines_of(client):
    connection = await nats.connect(client["nats_url"])
    stream = connection.jetstream()
    last = (await stream.stream_info(STREAM)).state.last_seq
    lines = []
    async for message, payload in messages(stream, 0):
        lines += payload.split(b"\n")
        if message >= last:
            break
    await connection.close()
    return lines


def read(lines, schemas):
    chain = Chain()
    for line in lines:
        schemas.check_commit(chain.take(line))
    return chain


def changed(lines):
    """Every change, with a name. The last commit's bytes are proved by the next one only, so it stays."""
    middle = len(lines) // 2
    yield "a commit is missing", lines[:middle] + lines[middle + 1 :]
    yield "two commits are swapped", lines[:middle] + [lines[middle + 1], lines[middle]] + lines[middle + 2 :]
    yield "a commit comes twice", lines[: middle + 1] + lines[middle:]
    yield "the first is missing", lines[1:]
    for place in range(0, len(lines) - 1, 5):
        line = lines[place]
        at = len(line) // 3
        flipped = line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]
        yield f"a bit of commit {place + 1}", lines[:place] + [flipped] + lines[place + 1 :]
        other = json.loads(line)
        other["actor"]["name"] = "somebody else"
        yield f"the actor of commit {place + 1}", lines[:place] + [json.dumps(other).encode()] + lines[place + 1 :]
        # The same content in other bytes is not what was written.
        spaced = json.dumps(json.loads(line), indent=None, separators=(", ", ": ")).encode()
        yield f"the spaces of commit {place + 1}", lines[:place] + [spaced] + lines[place + 1 :]


def unlike_its_schema(commit):
    for event in commit["events"]:
        for field in ("resource_id", "name", "generation", "data"):
            other = copy.deepcopy(event)
            del other[field]
            yield f"without {field}", other
        for field, value in (("data", []), ("generation", "1"), ("name", "Not A Name"), ("kind", "galaxy")):
            yield f"{field} {value!r}", {**event, field: value}
        for field in event["data"]:
            yield f"data.{field} of another type", {**event, "data": {**event["data"], field: [[True]]}}


def main():
    with open(sys.argv[2], encoding="utf-8") as file:
        client = json.load(file)
    schemas = Schemas(client["url"], client.get("ca_file"))
    lines = asyncio.run(lines_of(client))
    assert len(lines) > 5, len(lines)
    assert read(lines, schemas).sequence == len(lines)
    tried = 0
    for what, other in changed(lines):
        tried += 1
        try:
            read(other, schemas)
        except (Damaged, Unreadable):
            continue
        sys.exit(f"not noticed: {what}")
    for line in lines:
        commit = json.loads(line)
        for what, event in unlike_its_schema(commit):
            tried += 1
            try:
                schemas.check(event["type"], event["version"], event)
            except Unreadable:
                continue
            sys.exit(f"not noticed: {event['type']} {what}")
    print(f"{tried} noticed")


main()
