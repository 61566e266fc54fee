"""The directives ``parameter-table`` and ``derived-table``: tables as the package itself reads them."""

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList


class PackageTable(Directive):
    def rows(self):
        """Tuples of cells, the first of them the head."""
        raise NotImplementedError

    def run(self):
        lines = [".. list-table::", "   :header-rows: 1", ""]
        for row in self.rows():
            lines += [f"   {'  -' if number else '* -'} {cell}" for number, cell in enumerate(row)]
        parent = nodes.Element()
        self.state.nested_parse(StringList(lines, source=self.name), self.content_offset, parent)
        return parent.children


class ParameterTable(PackageTable):
    def rows(self):
        from sting.parameters import PARAMETERS

        yield "name", "unit", "bare numbers in", "value", "if left out", "meaning"
        for name, parameter in PARAMETERS.items():
            unit, internal = (unit.to_string() or "1" for unit in (parameter.display_unit, parameter.unit))
            value = "periodic, 360 deg" if parameter.period else parameter.rule.removeprefix("be ").replace("lie ", "")
            left_out = "" if parameter.default is None else f"{parameter.default:g} {internal}"
            yield f"``{name}``", unit, internal, value, left_out, parameter.description


class DerivedTable(PackageTable):
    def rows(self):
        from sting.derived import DERIVED

        yield "name", "unit", "for every axis that fits", "meaning"
        for name, (unit, any_axis, meaning) in DERIVED.items():
            yield f"``{name}``", unit.to_string() or "1", "yes" if any_axis else "", meaning


def setup(app):
    app.add_directive("parameter-table", ParameterTable)
    app.add_directive("derived-table", DerivedTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
