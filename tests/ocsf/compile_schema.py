"""Makes a JSON Schema of two event classes out of a checkout of the Open Cybersecurity Schema Framework.

`python -m tests.ocsf.compile_schema CHECKOUT > tests/ocsf/schema.json`, with https://github.com/ocsf/ocsf-schema (Apache-2.0)
checked out at a released version. An object that the export does not use may not be there at all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

CLASSES: Final = {"application_lifecycle": "events/application", "detection_finding": "events/findings"}
PROFILES: Final = ("host",)
OBJECTS: Final = ("metadata", "product", "device", "finding_info", "remediation", "feature")
PARENTS: Final = ("events", "events/application", "events/findings", "objects")
BASIC: Final[dict[str, dict[str, Any]]] = {
    "string_t": {"type": "string"},
    "integer_t": {"type": "integer"},
    "long_t": {"type": "integer"},
    "float_t": {"type": "number"},
    "boolean_t": {"type": "boolean"},
    "json_t": {},
    "object": {"type": "object"},
}


class Checkout:
    """The files of one version of the schema."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = self.read("version.json")["version"]
        dictionary = self.read("dictionary.json")
        self.dictionary: dict[str, Any] = dictionary["attributes"]
        self.types: dict[str, Any] = dictionary["types"]["attributes"]

    def read(self, name: str) -> dict[str, Any]:
        table: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return table

    def parent(self, name: str) -> dict[str, Any]:
        for folder in PARENTS:
            if (self.folder / folder / f"{name}.json").exists():
                return self.resolved(f"{folder}/{name}.json")
        message = f"{name} is nowhere"
        raise SystemExit(message)

    def resolved(self, name: str) -> dict[str, Any]:
        """Return a class or an object with what it takes over and with the profiles that are used."""
        own = self.read(name)
        whole = self.parent(own["extends"]) if "extends" in own else {"attributes": {}}
        attributes = whole["attributes"]
        stated = dict(own.get("attributes", {}))
        for profile in stated.pop("$include", []):
            if Path(profile).stem in PROFILES:
                attributes |= self.read(profile)["attributes"]
        for key, value in stated.items():
            merged = attributes.get(key, {}) | value
            if "enum" in value:
                merged["enum"] = attributes.get(key, {}).get("enum", {}) | value["enum"]
            attributes[key] = merged
        return {**whole, **own, "attributes": attributes}

    def schema_of(self, whole: dict[str, Any]) -> dict[str, Any]:
        attributes = whole["attributes"]
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: self.attribute(name, attributes[name]) for name in sorted(attributes)},
            "required": sorted(name for name, each in attributes.items() if each.get("requirement") == "required"),
            "additionalProperties": False,
        }
        if "at_least_one" in whole.get("constraints", {}):
            schema["anyOf"] = [{"required": [name]} for name in whole["constraints"]["at_least_one"]]
        return schema

    def attribute(self, name: str, stated: dict[str, Any]) -> Any:  # noqa: ANN401 - a schema, or false
        known = self.dictionary[name]
        schema = self.type_of(known["type"])
        if schema is False:
            return False
        enum = known.get("enum", {}) | stated.get("enum", {})
        if enum:
            schema = {"enum": [int(key) if schema.get("type") == "integer" else key for key in enum]}
        return {"type": "array", "items": schema} if known.get("is_array") else schema

    def type_of(self, name: str) -> Any:  # noqa: ANN401 - the same
        if name in BASIC:
            return BASIC[name]
        if name in self.types:
            kind = self.types[name]
            schema = dict(self.type_of(kind.get("type", "string_t")))
            if "regex" in kind:
                schema["pattern"] = kind["regex"]
            if "max_len" in kind:
                schema["maxLength"] = kind["max_len"]
            return schema
        return {"$ref": f"#/$defs/{name}"} if name in OBJECTS else False


def main(folder: Path) -> None:
    checkout = Checkout(folder)
    categories = checkout.read("categories.json")["attributes"]
    classes = {}
    for name, where in CLASSES.items():
        whole = checkout.resolved(f"{where}/{name}.json")
        category = categories[whole["category"]]["uid"]
        uid = category * 1000 + whole["uid"]
        schema = checkout.schema_of(whole)
        activities = schema["properties"]["activity_id"]["enum"]
        schema["properties"] |= {"category_uid": {"const": category}, "class_uid": {"const": uid}}
        schema["properties"]["type_uid"] = {"enum": [uid * 100 + each for each in activities]}
        classes[name] = schema
    objects = {name: checkout.schema_of(checkout.resolved(f"objects/{name}.json")) for name in OBJECTS}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Made by compile_schema.py from https://github.com/ocsf/ocsf-schema {checkout.version}, Apache-2.0",
        "version": checkout.version,
        "$defs": {**objects, **classes},
    }
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
