#!/usr/bin/env python3
"""Reads the log of an EdgeStack site over NATS, from its beginning or from where it was, and follows it.

Each event is printed as a line of JSON once it is proved to stand in the log: its commit comes next in the sequence, names
the hash of the commit before, and keeps the JSON Schema that the site publishes. On anything else it stops.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python follow_log.py --client-file ~/.local/share/edgestack/client.json --position seen.json

docs/events.md describes what is read here.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import ssl
import sys
import urllib.error
import urllib.request

import jsonschema
import nats
from nats.js import api
from nats.js.errors import NotFoundError

STREAM = "MM3"
SUBJECTS = "mm3.commit.>"
BATCH = 256
# A consumer that nobody asks any more is removed by the server after so long: this user may not remove it itself.
CONSUMER_IDLE_SECONDS = 60
ASK_SECONDS = 5


class Damaged(Exception):
    """What was read is not the log as it was written."""


class Unreadable(Exception):
    """What was read is the log, but not in a form that is published."""


class Chain:
    """The place up to which the log is proved whole."""

    def __init__(self, sequence=0, digest="0" * 64):
        self.sequence = sequence
        self.digest = digest

    def take(self, line):
        """The commit of a line, which must be the next one."""
        try:
            commit = json.loads(line)
            sequence, previous = commit["sequence"], commit["previous_hash"]
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(f"what comes after commit {self.sequence} is no commit: {error}") from error
        if sequence != self.sequence + 1:
            raise Damaged(f"after commit {self.sequence} comes {sequence}")
        if previous != self.digest:
            raise Damaged(f"commit {sequence} does not follow from commit {self.sequence} as it was read")
        # The hash is over the bytes as they lie in the message; not over anything that was parsed and written again.
        self.sequence, self.digest = sequence, hashlib.sha256(line).hexdigest()
        return commit


class Schemas:
    """The site's schemas, each asked for once. They are open: no token is needed."""

    def __init__(self, url, ca_file=None):
        self.url = url
        self.tls = ssl.create_default_context(cafile=ca_file) if url.startswith("https:") else None
        self.checkers = {}

    def check(self, name, version, value):
        """Raises unless a value keeps the schema of this name and version."""
        key = (name, version)
        if key not in self.checkers:
            schema = self.fetch(f"{self.url}/schemas/{name}/{version}")
            checks = jsonschema.Draft202012Validator
            self.checkers[key] = checks(schema, format_checker=checks.FORMAT_CHECKER)
        error = jsonschema.exceptions.best_match(self.checkers[key].iter_errors(value))
        if error is not None:
            raise Unreadable(f"{name} version {version}: {error.json_path}: {error.message}")

    def fetch(self, url):
        try:
            with urllib.request.urlopen(url, timeout=30, context=self.tls) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Unreadable(f"{url}: {error}; the site that wrote this is newer than its API") from error

    def check_commit(self, commit):
        self.check("Commit", commit["version"], commit)
        for event in commit["events"]:
            self.check(event["type"], event["version"], event)


class Position:
    """How far one has come: the last message, and the chain after it. It is kept in a file, if there is one."""

    def __init__(self, file=None):
        self.file = file
        self.message = 0
        self.chain = Chain()
        if file is not None and os.path.exists(file):
            with open(file, encoding="utf-8") as kept:
                seen = json.load(kept)
            self.message, self.chain = seen["message"], Chain(seen["sequence"], seen["hash"])

    def keep(self, message):
        self.message = message
        if self.file is None:
            return
        seen = {"message": message, "sequence": self.chain.sequence, "hash": self.chain.digest}
        with open(f"{self.file}.new", "w", encoding="utf-8") as draft:
            json.dump(seen, draft)
        os.replace(f"{self.file}.new", self.file)


async def complain(error):
    """Tells what will be tried again."""
    print(f"follow_log: {error or type(error).__name__}; trying again", file=sys.stderr)


async def messages(stream, after):
    """Every message of the stream after one, for ever. What the server has of us may vanish: it is made anew."""
    while True:
        config = api.ConsumerConfig(
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=after + 1,
            ack_policy=api.AckPolicy.NONE,
            inactive_threshold=CONSUMER_IDLE_SECONDS,
        )
        consumer = None
        try:
            consumer = await stream.pull_subscribe(SUBJECTS, stream=STREAM, config=config)
            while True:
                try:
                    batch = await consumer.fetch(BATCH, timeout=ASK_SECONDS)
                except nats.errors.TimeoutError:
                    # Nothing new, or nobody there.
                    await consumer.consumer_info()
                    continue
                for message in batch:
                    sequence = message.metadata.sequence.stream
                    if sequence <= after:
                        # A server that was killed forgets what it had told last, and tells it again.
                        continue
                    if sequence != after + 1:
                        raise Damaged(f"after message {after} comes {sequence}")
                    after = sequence
                    yield sequence, message.data
        except NotFoundError:
            continue
        except nats.errors.Error as error:
            await complain(error)
            await asyncio.sleep(1)
        finally:
            if consumer is not None:
                await consumer.unsubscribe()


async def follow(options):
    with open(options.client_file, encoding="utf-8") as file:
        client = json.load(file)
    schemas = Schemas(client["url"], client.get("ca_file"))
    position = Position(options.position)
    connection = await nats.connect(client["nats_url"], max_reconnect_attempts=-1, error_cb=complain)
    stream = connection.jetstream()
    last = (await stream.stream_info(STREAM)).state.last_seq
    if last < position.message:
        raise Damaged(f"message {position.message} was read before, and the log ends at {last}")
    try:
        if options.follow or position.message < last:
            async with contextlib.aclosing(messages(stream, position.message)) as log:
                async for message, payload in log:
                    # A message is one commit, or several that arrived together: a line each.
                    for line in payload.split(b"\n"):
                        commit = position.chain.take(line)
                        schemas.check_commit(commit)
                        tell(commit)
                    position.keep(message)
                    if not options.follow and message >= last:
                        break
    finally:
        await connection.close()


def tell(commit):
    """Prints the events of a commit. Yours to change: here is where your program begins."""
    for event in commit["events"]:
        line = {
            "sequence": commit["sequence"],
            "time": commit["time"],
            "type": event["type"],
            "object": f"{event['kind']}/{event['name']}",
            "actor": commit["actor"]["name"],
            "command": commit["command"],
            "data": event["data"],
        }
        print(json.dumps(line, ensure_ascii=False), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--client-file", required=True, help="client.json of the site's state folder")
    parser.add_argument("--position", metavar="FILE", help="where to keep how far one has come, and to go on from")
    parser.add_argument("--no-follow", dest="follow", action="store_false", help="end at the end of the log as it is now")
    try:
        asyncio.run(follow(parser.parse_args()))
    except (Damaged, Unreadable) as error:
        sys.exit(f"follow_log: {error}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
