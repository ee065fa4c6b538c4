"""Merging of modules with equal bodies in the RTLIL that Amaranth writes.

Amaranth emits one module per instance: 1,024 equal processing elements are 1,024 modules. Here
every module is brought into a canonical form that forgets the names of wires and the order of
ports; modules with the same form become one, instantiated many times. Children come before
parents, so one pass reaches the fixpoint.

Two instances of one component may differ in which outputs their parents use (Amaranth drops the
ports of unused ones). Outputs are therefore no part of the form: the merged module has the union
of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rpaccel.rtl.rtlil_clean import clean
from rpaccel.rtl.rtlil_text import NAME, Cell, RtlilModule, Wire, emit, parse

__all__ = ["merge_equal_modules"]


@dataclass
class _Form:
    """A module's canonical form and the way back from it."""

    key: str
    inputs: dict[str, str]  # canonical name -> port
    exports: dict[str, str]  # canonical expression -> output port
    names: dict[str, str]  # canonical name -> wire


class _Canonical:
    """Renames the wires of one module by their first use."""

    def __init__(self, module: RtlilModule, forms: dict[str, _Form]) -> None:
        self.module = module
        self.forms = forms
        self.rename: dict[str, str] = {}

    def signal(self, text: str) -> str:
        """Return `text` with canonical wire names."""

        def replace(match: re.Match[str]) -> str:
            return self.rename.setdefault(match[0], f"w{len(self.rename)}")

        return NAME.sub(replace, text)

    def cell_lines(self, cell: Cell) -> list[str]:
        ports = cell.ports
        kind = cell.kind
        form = self.forms.get(kind)
        if form is not None:
            port_keys = {port: key for key, port in form.inputs.items()}
            port_keys |= {port: f"o {key}" for key, port in form.exports.items()}
            ports = dict(sorted((port_keys[port], value) for port, value in ports.items()))
            kind = form.key
        return [
            f"cell {kind}",
            *cell.attributes,
            *cell.parameters,
            *[f"connect {port} {self.signal(value)}" for port, value in ports.items()],
        ]

    def form(self) -> _Form:
        """Return the module's form."""
        module = self.module
        body = list(module.memories)
        for item in module.items:
            if isinstance(item, Cell):
                body += self.cell_lines(item)
            else:
                body += ["process", *[self.signal(line) for line in item.lines]]
        outputs = {wire.name for wire in module.wires.values() if wire.kind == "output"}
        exports = {}
        loose = False
        for lhs, rhs in module.connections:
            before = len(self.rename)
            if lhs in outputs and lhs not in self.rename:
                expression = self.signal(rhs)
                exports[expression if expression not in exports else f"{lhs} = {expression}"] = lhs
                loose |= len(self.rename) != before
            else:
                body.append(f"connect {self.signal(lhs)} {self.signal(rhs)}")
        assigned = set(exports.values())
        exports |= {self.signal(name): name for name in sorted(outputs - assigned)}
        if loose:  # an output that only repeats an otherwise unused input
            body += [f"export {key}" for key in exports]
        for wire in module.wires.values():  # inputs that only a dropped alias read
            if wire.kind == "input":
                self.signal(wire.name)
        for name, short in self.rename.items():
            wire = module.wires[name]
            kind = "input" if wire.kind == "input" else ""
            body.append(f"wire {short} {wire.width}{wire.signed} {kind} {wire.attributes}")
        names = {short: name for name, short in self.rename.items()}
        inputs = {
            short: name for short, name in names.items() if module.wires[name].kind == "input"
        }
        return _Form("\n".join(body), inputs, exports, names)


def _add_exports(module: RtlilModule, form: _Form, wanted: _Form, widths: dict[str, Wire]) -> None:
    """Give `module` the outputs of `wanted` that it lacks."""
    for expression, port in wanted.exports.items():
        if expression in form.exports:
            continue
        bare = form.names.get(expression)
        if bare is not None and module.wires[bare].kind == "":
            module.wires[bare].kind = "output"
            form.exports[expression] = bare
            continue
        name = port
        while name in module.wires:
            name += "$x"
        module.wires[name] = Wire(name, widths[port].width, "output", "", [])
        rhs = re.sub(r"\bw\d+\b", lambda match: form.names[match[0]], expression)
        module.connections.append((name, rhs))
        form.exports[expression] = name


def _readable_names(modules: list[RtlilModule], instances: dict[str, int]) -> dict[str, str]:
    """Return short Verilog names: the top's name, then the last parts of the path."""
    top = modules[0].name.removeprefix("\\")
    names = {modules[0].name: modules[0].name}
    taken = {top}
    for module in modules[1:]:
        parts = re.sub(r"[^\w.]", "_", module.name.removeprefix("\\")).split(".")
        if instances[module.name] > 1:
            parts[-1] = re.sub(r"[_\d]+$", "", parts[-1]) or parts[-1]
        depth = 1
        name = f"{top}_{parts[-1]}"
        while name in taken and depth < len(parts) - 1:
            depth += 1
            name = "_".join([top, *parts[-depth:]])
        number = 1
        base = name
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        names[module.name] = f"\\{name}"
    return names


def merge_equal_modules(text: str, *, checks: bool = True) -> str:
    """Return RTLIL with the same meaning in which no two modules have equal bodies.

    The first module of `text` is the top and keeps its name and its ports. Without `checks` the
    assertions and prints are left out.
    """
    modules = parse(text)
    forms: dict[str, _Form] = {}
    kept: dict[str, RtlilModule] = {}  # form key -> module that stays
    kept_form: dict[str, _Form] = {}
    twin: dict[str, str] = {}  # module -> module that stays
    for module in _children_first(modules):
        clean(module, checks=checks)
        form = _Canonical(module, forms).form()
        key = form.key
        form.key = f"class{len(kept)}" if key not in kept else kept_form[key].key
        forms[module.name] = form
        if key in kept:
            _add_exports(kept[key], kept_form[key], form, module.wires)
            twin[module.name] = kept[key].name
        else:
            kept[key], kept_form[key] = module, form
    result = [module for module in modules if module.name not in twin]
    final_form = {module.name: forms[module.name] for module in result}
    instances = dict.fromkeys((module.name for module in modules), 0)
    for module in result:
        for cell in module.items:
            if isinstance(cell, Cell) and cell.kind in forms:
                _retarget(cell, forms[cell.kind], twin, final_form)
                instances[cell.kind] += 1
    names = _readable_names(result, instances)
    for module in result:
        module.name = names[module.name]
        for cell in module.items:
            if isinstance(cell, Cell):
                cell.kind = names.get(cell.kind, cell.kind)
    return emit(result)


def _children_first(modules: list[RtlilModule]) -> list[RtlilModule]:
    """Return `modules` in an order in which every module comes after those it instantiates."""
    by_name = {module.name: module for module in modules}
    order: dict[str, RtlilModule] = {}

    def visit(module: RtlilModule) -> None:
        if module.name not in order:
            kinds = dict.fromkeys(item.kind for item in module.items if isinstance(item, Cell))
            for kind in kinds:
                if kind in by_name:
                    visit(by_name[kind])
            order[module.name] = module

    for module in modules:
        visit(module)
    return list(order.values())


def _retarget(cell: Cell, form: _Form, twin: dict[str, str], final_form: dict[str, _Form]) -> None:
    """Point `cell` at the module that stays, with that module's port names."""
    if cell.kind not in twin:
        return
    target = twin[cell.kind]
    kept = final_form[target]
    ports = {port: kept.inputs[key] for key, port in form.inputs.items()}
    ports |= {port: kept.exports[key] for key, port in form.exports.items()}
    cell.kind = target
    cell.ports = {ports[port]: value for port, value in cell.ports.items()}
