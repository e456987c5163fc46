#!/usr/bin/env python3
"""Takes out of KubeVirt's api/openapi-spec/swagger.json what a v1 VirtualMachine is made of, as a JSON Schema.

    extract.py < swagger.json > virtual_machine.schema.json
"""

import json
import sys

ROOT = "v1.VirtualMachine"
# Say nothing about what is valid, and are two thirds of the text.
SILENT = {"description", "default"}


def main():
    definitions = json.load(sys.stdin)["definitions"]
    needed = {}
    waiting = [ROOT]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = schema(definitions[name])
            waiting += references(needed[name])
    document = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "$ref": "#/definitions/" + ROOT,
        "definitions": needed,
    }
    json.dump(document, sys.stdout, indent=1, sort_keys=True)
    print()


def schema(given):
    """A schema without what is silent, closed to properties that it doesn't name."""
    kept = {key: value for key, value in given.items() if key not in SILENT and not key.startswith("x-kubernetes-")}
    if "properties" in kept:
        kept["properties"] = {name: schema(value) for name, value in kept["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = schema(kept[key])
    if kept.get("type") == "object" and "additionalProperties" not in kept:
        kept["additionalProperties"] = False
    if kept.get("nullable"):
        kept["type"] = [kept["type"], "null"]
    kept.pop("nullable", None)
    return kept


def references(part):
    """The names of the definitions that a schema refers to."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"].removeprefix("#/definitions/")
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


if __name__ == "__main__":
    main()
