"""A place: the Kafka cluster and the partition that offsets belong to."""

Place = tuple[str, int]


def place_name(place: Place) -> str:
    """The name of a place in an index: "<cluster>/<partition>"."""
    return f"{place[0]}/{place[1]}"


def parse_place(name: str) -> Place:
    """The place of a name. Raises: ValueError"""
    cluster_id, _, partition = name.rpartition("/")
    return cluster_id, int(partition)


def place_folder(place: Place) -> str:
    """The part of an object's path: "<cluster>/<partition, 5 digits>"."""
    return f"{place[0]}/{place[1]:05d}"


def split_path(path: str) -> tuple[Place, int] | None:
    """Place and offset of "<kind>/<cluster>/<partition>/<offset>.json"; None for any other object."""
    folder, _, name = path.partition("/")[2].rpartition("/")
    cluster_id, _, number = folder.rpartition("/")
    offset = name.removesuffix(".json")
    if not (number.isdecimal() and offset.isdecimal() and name.endswith(".json")):
        return None
    return (cluster_id, int(number)), int(offset)
