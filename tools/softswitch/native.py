"""The C interface of the compiled pipeline (`runtime/engine.h`, `runtime/io.h`) for ctypes."""

from __future__ import annotations

import ctypes
from pathlib import Path

from softswitch.errors import CompileError

_U32, _U64, _INT, _PTR = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int, ctypes.c_void_p


class Counter(ctypes.Structure):
    """struct sw_counter"""

    _fields_ = (("packets", _U64), ("bytes", _U64))


class Replica(ctypes.Structure):
    """struct sw_replica"""

    _fields_ = (("port", _U32), ("rid", _U32))


class Drops(ctypes.Structure):
    """struct sw_drops"""

    _fields_ = (
        ("unknown_port", _U64),
        ("priority", _U64),
        ("clones", _U64),
        ("passes", _U64),
        ("queue_full", _U64),
        ("events", _U64),
    )


class MeterRates(ctypes.Structure):
    """struct sw_meter_config"""

    _fields_ = (("cir", _U64), ("cburst", _U64), ("pir", _U64), ("pburst", _U64))


class PortRecord(ctypes.Structure):
    """struct sw_port_stats"""

    _fields_ = (
        ("port", _U32),
        ("up", _U32),
        ("rx_packets", _U64),
        ("rx_bytes", _U64),
        ("tx_packets", _U64),
        ("tx_bytes", _U64),
        ("rx_kernel_drops", _U64),
        ("rx_oversize", _U64),
        ("tx_failures", _U64),
        ("pcap_failures", _U64),
    )


class QueueRecord(ctypes.Structure):
    """struct sw_queue_stats"""

    _fields_ = (("packets", _U64), ("bytes", _U64), ("drops", _U64), ("waiting", _U64))


class WireTable(ctypes.Structure):
    """struct sw_wire_table"""

    _fields_ = (
        ("id", _U32),
        ("table", _U32),
        ("order", _U32),
        ("limit", _U32),
        ("metered", _U32),
        ("ages", _U32),
        ("first_field", _U32),
        ("n_fields", _U32),
        ("first_action", _U32),
        ("n_actions", _U32),
    )


class WireField(ctypes.Structure):
    """struct sw_wire_field"""

    _fields_ = (("id", _U32), ("kind", _U32), ("width", _U32), ("bit", _U32))


class WireAction(ctypes.Structure):
    """struct sw_wire_action"""

    _fields_ = (("id", _U32), ("action", _U32), ("first_param", _U32), ("n_params", _U32))


class WireParam(ctypes.Structure):
    """struct sw_wire_param"""

    _fields_ = (("id", _U32), ("width", _U32))


_FUNCTIONS = {
    "sw_create": ((), _PTR),
    "sw_destroy": ((_PTR,), None),
    "sw_insert": ((_PTR, _U32, ctypes.c_char_p, ctypes.c_char_p, _U32, _U32, _PTR, _PTR), _INT),
    "sw_modify": ((_PTR, _U32, _U64, _U32, _PTR), _INT),
    "sw_delete": ((_PTR, _U32, _U64), _INT),
    "sw_find": ((_PTR, _U32, ctypes.c_char_p, ctypes.c_char_p, _U32, _PTR, _U32), _INT),
    "sw_wire_describe": ((_PTR, _U32, _PTR, _U32, _PTR, _U32, _PTR, _U32, _PTR), _INT),
    "sw_wire_write": ((_PTR, ctypes.c_char_p, _U32, _PTR, _U32, _U32, _PTR), _INT),
    "sw_set_default": ((_PTR, _U32, _U32, _PTR), _INT),
    "sw_entry_count": ((_PTR, _U32, _PTR), _INT),
    "sw_direct_read": ((_PTR, _U32, _U64, _PTR, _PTR), _INT),
    "sw_direct_write": ((_PTR, _U32, _U64, _U64, _U64), _INT),
    "sw_direct_counted": ((_PTR, _U32, _PTR, _PTR, _U32), _INT),
    "sw_counter_read": ((_PTR, _U32, _U32, _U32, _PTR), _INT),
    "sw_counter_write": ((_PTR, _U32, _U32, _U64, _U64), _INT),
    "sw_group_set": ((_PTR, _U32, _U32, _PTR), _INT),
    "sw_group_delete": ((_PTR, _U32), _INT),
    "sw_drops_read": ((_PTR, _PTR), _INT),
    "sw_entry_idle": ((_PTR, _U32, _U64, _U32), _INT),
    "sw_entry_last_hit": ((_PTR, _U32, _U64, _PTR), _INT),
    "sw_meter_set": ((_PTR, _U32, _U32, _PTR), _INT),
    "sw_meter_get": ((_PTR, _U32, _U32, _PTR), _INT),
    "sw_member_set": ((_PTR, _U32, _U32, _U32, _U32, _PTR), _INT),
    "sw_member_delete": ((_PTR, _U32, _U32), _INT),
    "sw_member_group_set": ((_PTR, _U32, _U32, _U32, _PTR), _INT),
    "sw_member_group_delete": ((_PTR, _U32, _U32), _INT),
    "sw_session_set": ((_PTR, _U32, _U32, _U32, _PTR), _INT),
    "sw_session_delete": ((_PTR, _U32), _INT),
    "sw_set_cpu_port": ((_PTR, _U32), _INT),
    "sw_set_events_only": ((_PTR, _U32), _INT),
    "sw_hold": ((_PTR,), _INT),
    "sw_release": ((_PTR,), _INT),
    "sw_register_read": ((_PTR, _U32, _U32, _U32, _PTR), _INT),
    "sw_register_write": ((_PTR, _U32, _U32, _U32, _PTR), _INT),
    "sw_direct_meter_set": ((_PTR, _U32, _U64, _PTR), _INT),
    "sw_direct_meter_counts": ((_PTR, _U32, _U64, _PTR), _INT),
    "sw_direct_meter_set_counts": ((_PTR, _U32, _U64, _PTR), _INT),
    "sw_meter_counts": ((_PTR, _U32, _U32, _PTR), _INT),
    "sw_meter_set_counts": ((_PTR, _U32, _U32, _PTR), _INT),
    "sw_event_fd": ((_PTR,), _INT),
    "sw_take_events": ((_PTR, _PTR, _PTR), _INT),
    "sw_free": ((_PTR,), None),
    "sw_inject": ((_PTR, _U32, ctypes.c_char_p, _U32, _U64), _INT),
    "sw_inject_mark": ((_PTR, _U64), _INT),
    "sw_port_rate": ((_PTR, _U32, _U32, _U64, _U32), _INT),
    "sw_queue_stats_read": ((_PTR, _U32, _PTR), _INT),
    "sw_port_pcap": ((_PTR, _U32, ctypes.c_char_p, ctypes.c_char_p), _INT),
    "sw_process": ((_PTR, _U32, ctypes.c_char_p, _U32, _PTR, _PTR), _INT),
    "sw_replay": ((_PTR, _U32, ctypes.c_char_p, _U32, _U32, _U32, _PTR), _INT),
    "sw_port_add": ((_PTR, _U32, ctypes.c_char_p), _INT),
    "sw_start": ((_PTR, _PTR), _INT),
    "sw_stop": ((_PTR,), _INT),
    "sw_port_stats_read": ((_PTR, _PTR, _U32), _INT),
}


# what only some objects have
_OPTIONAL = {
    "sw_fuzz": (
        (_PTR, _U64, _U64, ctypes.c_char_p, ctypes.c_size_t, _PTR, _PTR, _PTR),
        _INT,
    ),
}


class Library(ctypes.CDLL):
    """A loaded pipeline. Holds no state: everything lives in what sw_create returns."""

    def __init__(self, path: Path) -> None:
        try:
            super().__init__(str(path))
        except OSError as error:
            raise CompileError(f"cannot load {path}: {error}") from error
        optional = {name: kind for name, kind in _OPTIONAL.items() if hasattr(self, name)}
        for name, (arguments, result) in {**_FUNCTIONS, **optional}.items():
            function = self[name]
            function.argtypes = arguments
            function.restype = result
            setattr(self, name, function)
