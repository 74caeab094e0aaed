"""What happens to Iceberg tables, in numbers."""

from typing import Final

from prometheus_client import Counter

COMMITS: Final = Counter("stretto_iceberg_commits", "Commits to Iceberg tables.")
FAILURES: Final = Counter("stretto_iceberg_failures", "Updates of Iceberg tables that failed; they are repeated.")
FILES: Final = Counter(
    "stretto_iceberg_files",
    "Files of blocks that Iceberg tables got or lost, or could not get because they are damaged.",
    ["change"],
)
COLUMNS_LEFT_OUT: Final = Counter(
    "stretto_iceberg_columns_left_out", "Attribute columns of new files that their Iceberg table does not have."
)
