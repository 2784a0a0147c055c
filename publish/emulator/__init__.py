"""EC2 Image Builder in memory: for tests, and for rehearsals without an account.

`Emulator` is the account; `in_process` answers this process's own boto3 clients, `Endpoint` listens on loopback for anybody's.
A `Builder` runs the components; `shapes` and `wire.check` hold any request against the service's model without calling anything.
"""

from __future__ import annotations

from publish.emulator.builder import Builder, CancelledError, Instance, Order, OrderedComponent, Pretence, Progress, TargetInstance
from publish.emulator.core import Emulator
from publish.emulator.errors import ServiceError
from publish.emulator.faults import Fault, Faults
from publish.emulator.inprocess import in_process, responder
from publish.emulator.scheduler import Scheduler, Stepped, Threaded
from publish.emulator.server import Endpoint
from publish.emulator.world import Alone, World

__all__ = [
    "Alone",
    "Builder",
    "CancelledError",
    "Emulator",
    "Endpoint",
    "Fault",
    "Faults",
    "Instance",
    "Order",
    "OrderedComponent",
    "Pretence",
    "Progress",
    "Scheduler",
    "ServiceError",
    "Stepped",
    "TargetInstance",
    "Threaded",
    "World",
    "in_process",
    "responder",
]
