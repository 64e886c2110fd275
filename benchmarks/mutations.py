"""The changes that ``mutants.py`` makes: each one replaces an expression, or drops a statement, of one line."""

import ast
import warnings

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NAMES = {"min": "max", "minimum": "maximum", "argmin": "argmax", "any": "all", "mean": "sum"}
NAMES |= {new: old for old, new in NAMES.items()}
#: Methods that can be left out.
OPTIONAL = {"detach", "clone", "copy", "abs", "exp", "log", "sqrt", "item"}
#: Parts of a statement that say nothing about what it computes.
SKIPPED = {"annotation", "returns", "decorator_list", "type_comment"}


def mutations(source):
    """Yield ``(line, changed source)`` for every mutant of a module; only changes within one line."""
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    for node, replacement in _walk(ast.parse(source)):
        if node.lineno != node.end_lineno:
            continue
        index, line = node.lineno - 1, lines[node.lineno - 1]
        changed = line[: node.col_offset] + replacement.encode() + line[node.end_col_offset :]
        text = b"".join([*lines[:index], changed, *lines[index + 1 :]]).decode()
        if _compiles(text):
            yield node.lineno, text


def _compiles(text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of Python about nonsense, such as a number that is called
        try:
            compile(text, "", "exec")
        except (SyntaxError, SyntaxWarning):
            return False
    return True


def _walk(node):
    if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom)) or _is_remark(node):
        return
    for replacement in _changes(node):
        yield node, replacement
    for name, value in ast.iter_fields(node):
        if name not in SKIPPED:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _walk(child)


def _is_remark(node):
    """Whether a node is about messages or types."""
    if isinstance(node, ast.keyword):
        return node.arg in {"stacklevel", "strict"}
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in {"cast", "TypeVar"}
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _changes(node):
    """Return what may stand in a node's place, as text."""
    made = CHANGES.get(type(node), lambda node: [])(node)
    return [f"({text})" if isinstance(node, (ast.BinOp, ast.Compare, ast.BoolOp)) else text for text in made]


def _compare(node):
    changed = COMPARISONS[type(node.ops[0])]()
    return [ast.unparse(ast.Compare(node.left, [changed, *node.ops[1:]], node.comparators))]


def _operation(node):
    left, right = node.left, node.right
    if isinstance(node.op, ast.MatMult):
        return [ast.unparse(ast.BinOp(right, node.op, left))]
    if isinstance(node.op, ast.BitOr) and isinstance(right, ast.Constant) and right.value is None:
        return []  # a type
    made = [ast.BinOp(left, OPERATORS[type(node.op)](), right)] if type(node.op) in OPERATORS else []
    return [ast.unparse(part) for part in (*made, left, right)]  # a term or a factor left out


def _boolean(node):
    changed = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    return [ast.unparse(part) for part in (ast.BoolOp(changed, node.values), *node.values)]


def _unary(node):
    return [ast.unparse(node.operand)]  # a sign, a `not` left out


def _constant(node):
    if isinstance(node.value, bool):
        return [repr(not node.value)]
    if not isinstance(node.value, int | float):
        return []
    return [repr(value) for value in (node.value + 1, node.value * 2, 0 * node.value) if value != node.value]


def _call(node):
    made = []
    if len(node.args) > 1 and not any(isinstance(part, ast.Starred | ast.Constant) for part in node.args[:2]):
        swapped = ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
        made.append(ast.unparse(swapped))
    if isinstance(node.func, ast.Attribute):
        if node.func.attr in NAMES:
            other = ast.Attribute(node.func.value, NAMES[node.func.attr], ast.Load())
            made.append(ast.unparse(ast.Call(other, node.args, node.keywords)))
        if node.func.attr in OPTIONAL and not node.args:
            made.append(ast.unparse(node.func.value))
    elif isinstance(node.func, ast.Name) and node.func.id in NAMES:
        made.append(ast.unparse(ast.Call(ast.Name(NAMES[node.func.id]), node.args, node.keywords)))
    return made


def _statement(node):
    return ["pass"] if isinstance(node.value, ast.Call) else []


def _assignment(node):
    return ["pass"] if all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets) else []


def _augmented(node):
    return [f"{ast.unparse(node.target)} = {ast.unparse(node.value)}", "pass"]


def _condition(node):
    changed = ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    return [f"({ast.unparse(part)})" for part in (changed, node.body, node.orelse)]


def _slice(node):
    return [":"] if node.lower or node.upper else []


CHANGES = {
    ast.Compare: _compare,
    ast.BinOp: _operation,
    ast.BoolOp: _boolean,
    ast.UnaryOp: _unary,
    ast.Constant: _constant,
    ast.Call: _call,
    ast.Expr: _statement,
    ast.Assign: _assignment,
    ast.AugAssign: _augmented,
    ast.IfExp: _condition,
    ast.Slice: _slice,
}
