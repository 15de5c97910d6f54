"""What a bar must be, for every bar that is imported, fetched or received live.

`rules` refuses what no bar can be; `suspects` finds bars that no market made; `aside` keeps what was set aside.
"""

from ewmalab.market.quality.rules import (
    COLUMNS,
    DUPLICATE,
    NO_READABLE_TIME,
    VALUE_FAULTS,
    AsideBar,
    Bool,
    Int,
    describe_faults,
    rejects,
    row_faults,
    spacing_fault,
)

__all__ = [
    "COLUMNS",
    "DUPLICATE",
    "NO_READABLE_TIME",
    "VALUE_FAULTS",
    "AsideBar",
    "Bool",
    "Int",
    "describe_faults",
    "rejects",
    "row_faults",
    "spacing_fault",
]
