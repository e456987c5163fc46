#!/usr/bin/env python3
"""Takes from @asyncapi/specs' schemas/3.0.0-without-$id.json what decides whether a document is valid.

    extract.py < '3.0.0-without-$id.json' > asyncapi-3.0.0.schema.json
"""

import json
import sys

# Say nothing about what is valid, and are four fifths of the text. Where a property has such a name, its value is a schema.
SILENT = {"description": str, "examples": list}


def schema(given):
    if isinstance(given, dict):
        return {
            key: schema(value)
            for key, value in given.items()
            if key not in SILENT or not isinstance(value, SILENT[key])
        }
    if isinstance(given, list):
        return [schema(value) for value in given]
    return given


if __name__ == "__main__":
    json.dump(schema(json.load(sys.stdin)), sys.stdout, indent=1, sort_keys=True)
    print()
