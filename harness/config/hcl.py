"""Reads configuration text with python-hcl2 and turns its parse tree into located syntax.

The values that python-hcl2 itself hands out are source text (`"${var.x}"`) without lines for expressions, so its tree is
used instead: it keeps every token and its line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from hcl2 import parses_to_tree
from lark import Token, Tree
from lark.exceptions import LarkError, UnexpectedCharacters, UnexpectedToken

from harness.config.scan import CANNOT_NEST, Scan, split_template
from harness.config.syntax import (
    Assignment,
    Attribute,
    Binary,
    Block,
    Body,
    Call,
    Conditional,
    Expression,
    Index,
    ListOf,
    Literal,
    Name,
    ObjectOf,
    Template,
    Unary,
)
from harness.errors import ConfigError, Location

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LARGEST = 1 << 20
"""Bytes of a configuration file; real ones have a few thousand."""
DEEPEST = 100
"""Expressions within expressions; keeps every recursion far from Python's own limit."""
LONGEST_NUMBER = 30
"""Characters of a number; account ids have 12."""

LONGEST_SIGN = 5
"""Characters of the longest operator or constant."""

Node: TypeAlias = Tree[Token] | Token

OPERATORS = {
    "DOUBLE_EQ": "==", "NEQ": "!=", "LT": "<", "GT": ">", "LEQ": "<=", "GEQ": ">=", "MINUS": "-", "PLUS": "+",
    "ASTERISK": "*", "SLASH": "/", "PERCENT": "%", "DOUBLE_AMP": "&&", "DOUBLE_PIPE": "||", "NOT": "!",
}  # fmt: skip
"""By the token's type: its text may begin with the line break in front of it."""
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))", re.DOTALL)
SUPPORTED = "supported are references, text with ${…}, conditionals, operators, indexing, lists, maps and functions"
UNSUPPORTED = {
    "for_tuple_expr": "`for` expressions",
    "for_object_expr": "`for` expressions",
    "attr_splat_expr_term": "splat expressions (.*)",
    "full_splat_expr_term": "splat expressions ([*])",
    "template_string": 'text in \\" … \\"',
}
DIRECTIVES = {"template_if_start", "template_else", "template_endif", "template_for_start", "template_endfor"}


def read(path: Path) -> str:
    """Read a configuration file as text with line feeds only. Raises ConfigError for anything that is no text."""
    where = Location(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError("there is no such file", hint="check the path", at=where) from None
    except IsADirectoryError:
        raise ConfigError("this is a folder, not a file", hint=f"name the file in it: {path / 'harness.hcl'}", at=where) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"cannot be read: {reason}", hint="check the path and its permissions", at=where) from None
    if len(data) > LARGEST:
        raise ConfigError(f"is larger than {LARGEST >> 20} MiB", hint="this is no configuration file", at=where)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = Location(path, data.count(b"\n", 0, error.start) + 1)
        raise ConfigError("is not UTF-8 text", hint="save the file as UTF-8", at=at) from None
    return text


def parse(text: str, path: Path, *, secret: bool = False) -> Body:
    """Parse a whole file; `path` is what errors name, `secret` keeps words of the file out of them."""
    tree = _tree(text.replace("\r\n", "\n"), path, 1, secret=secret)
    return _Converter(path, text, 0).body(_tree_child(tree, "body"))


def parse_expression(text: str, path: Path, line: int = 1, *, secret: bool = False) -> Expression:
    """Parse one expression that begins on `line` of `path`."""
    return _Converter(path, text, line - 1).expression(_single(text, path, line, secret=secret), 0)


def _single(text: str, path: Path, line: int, *, secret: bool) -> Node:
    """Return the tree of the one expression in `text`; the bracket around it lets it span lines."""
    if not text.strip():
        raise ConfigError("an expression is missing", hint=SUPPORTED, at=Location(path, line))
    Scan(text, path, line=line).whole()
    items = _meaningful(_tree_child(_tree(f"x = ({text}\n)", path, line, secret=secret), "body"))
    if len(items) != 1 or items[0].data != "attribute":
        raise ConfigError("this is no single expression", hint=SUPPORTED, at=Location(path, line))
    return items[0].children[-1]


def _tree(text: str, path: Path, line: int, *, secret: bool) -> Tree[Token]:
    """Run the grammar; a syntax error becomes one line that names the right place."""
    if "\0" in text:
        at = Location(path, line + text.count("\n", 0, text.index("\0")))
        raise ConfigError("holds a NUL character", hint="this is no text file", at=at)
    Scan(text, path, line=line).whole()
    try:
        return parses_to_tree(text)
    except UnexpectedToken as error:
        _refuse(error.token, path, line, secret=secret)
    except UnexpectedCharacters as error:
        sign = error.char
        raise ConfigError(
            f"`{sign}` cannot stand here", hint="see the line and the one above it", at=Location(path, line + max(error.line - 1, 0))
        ) from None
    except (LarkError, RecursionError) as error:
        raise ConfigError(f"cannot be parsed ({type(error).__name__})", hint="see the syntax of HCL2", at=Location(path, line)) from None


def _refuse(token: Token, path: Path, line: int, *, secret: bool) -> NoReturn:
    place = line + max((token.line or 1) - 1, 0)
    kind, word = token.type, str(token).lstrip(" \t")
    hint = 'text stands in double quotes, list items are separated by commas, a block is `kind "name" { … }`'
    if kind in {"NL_OR_COMMENT", "$END"} or word.startswith("\n"):
        # Where no rule fits, the lexer takes everything up to the next quote for text.
        what, hint = "the line ends too early", "an operator, a value or a closing bracket is missing"
    elif word.startswith(("'", "`")):
        what, hint = f"`{word[0]}` cannot stand here", 'text stands in double quotes: "…"'
    elif kind in {"NAME", "STRING_CHARS", "INT_LITERAL", "FLOAT_LITERAL"}:
        shown = "a word or a number" if secret or not word.split() else f"`{word.split()[0][:40]}`"
        what = f"{shown} stands where it is not expected"
    else:
        shown = f"`{word.strip()}`" if len(word.strip()) <= LONGEST_SIGN else "a comment, a heredoc or a keyword"
        what, hint = f"{shown} cannot stand here", "a value or a name is missing in front of it, or a bracket too many"
    raise ConfigError(what, hint=hint, at=Location(path, place))


def _trees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _tree_child(tree: Tree[Token], name: str) -> Tree[Token]:
    return next(child for child in _trees(tree) if child.data == name)


def _meaningful(tree: Tree[Token]) -> list[Tree[Token]]:
    """Return the subtrees without line breaks and comments."""
    return [child for child in _trees(tree) if child.data != "new_line_or_comment"]


class _Converter:
    """Turns trees of python-hcl2 into syntax; `before` is the number of lines above the parsed text."""

    def __init__(self, path: Path, text: str, before: int) -> None:
        self.path, self.lines, self.before = path, text.replace("\r\n", "\n").split("\n"), before

    def fail(self, message: str, line: int, hint: str) -> NoReturn:
        raise ConfigError(message, hint=hint, at=Location(self.path, line))

    def line(self, node: Node, default: int = 1) -> int:
        found = node.line if isinstance(node, Token) else getattr(node.meta, "line", None)
        return (found or default) + self.before

    def body(self, tree: Tree[Token]) -> Body:
        """Convert a body; blocks within blocks are few here, since the scan in front has counted the brackets."""
        assignments: list[Assignment] = []
        blocks: list[Block] = []
        seen: dict[str, int] = {}
        for position, item in enumerate(_meaningful(tree)):
            line = self.line(item)
            if position:
                self._own_line(item, line)
            if item.data == "block":
                blocks.append(self._block(item, line))
                continue
            name = self._word(item.children[0])
            if name in seen:
                self.fail(f"`{name}` is given twice, first on line {seen[name]}", line, "remove one of the two")
            seen[name] = line
            assignments.append(Assignment(name, self.expression(item.children[-1], 0), line))
        return Body(tuple(assignments), tuple(blocks))

    def _own_line(self, item: Tree[Token], line: int) -> None:
        """Refuse `a = 1 b = 2`, which HCL2 does not allow and python-hcl2 lets pass."""
        before = self.lines[line - 1 - self.before][: (item.meta.column or 1) - 1].strip()
        if before and not before.endswith("*/"):
            self.fail("two settings stand on one line", line, "give each setting a line of its own")

    def _word(self, node: Node) -> str:
        while isinstance(node, Tree):
            node = node.children[0]
        return str(node)

    def _block(self, tree: Tree[Token], line: int) -> Block:
        head = [child for child in _meaningful(tree) if child.data != "body"]
        labels = []
        for node in head[1:]:
            if node.data != "string":
                labels.append(self._word(node))
                continue
            label = self._string(node, 0)
            if not isinstance(label, Literal):
                self.fail("a block's name cannot hold ${…}", line, "write the name out")
            labels.append(str(label.value))
        return Block(self._word(head[0]), tuple(labels), self.body(_tree_child(tree, "body")), line)

    def expression(self, node: Node, depth: int) -> Expression:
        line = self.line(node)
        if depth > DEEPEST:
            self.fail(f"an expression is nested more than {DEEPEST} levels deep", line, CANNOT_NEST)
        if isinstance(node, Token):  # pragma: no cover - the grammar never hands out a bare token here
            self.fail(f"`{node}` cannot stand here", line, SUPPORTED)
        name = str(node.data)
        if name in UNSUPPORTED:
            self.fail(f"{UNSUPPORTED[name]} are not supported", line, SUPPORTED)
        if name == "expr_term":
            return self.expression(_meaningful(node)[0], depth)
        convert: dict[str, Callable[[Tree[Token], int], Expression]] = {
            "int_lit": self._number, "float_lit": self._number, "literal_value": self._constant, "string": self._string,
            "heredoc_template": self._heredoc, "heredoc_template_trim": self._heredoc, "identifier": self._name, "tuple": self._list,
            "object": self._object, "function_call": self._call, "get_attr_expr_term": self._attribute, "index_expr_term": self._index,
            "conditional": self._conditional, "binary_op": self._binary, "unary_op": self._unary,
        }  # fmt: skip
        if name not in convert:
            self.fail(f"this kind of expression is not supported ({name})", line, SUPPORTED)
        return convert[name](node, depth + 1)

    def _name(self, tree: Tree[Token], _depth: int) -> Expression:
        return Name(self._word(tree), self.line(tree))

    def _constant(self, tree: Tree[Token], _depth: int) -> Expression:
        return Literal({"true": True, "false": False, "null": None}[self._word(tree)], self.line(tree))

    def _number(self, tree: Tree[Token], _depth: int) -> Expression:
        text, line = self._word(tree), self.line(tree)
        if len(text) > LONGEST_NUMBER:
            self.fail(f"a number has more than {LONGEST_NUMBER} characters", line, "put it in quotes if it is an identifier")
        if re.match(r"-?0[0-9]", text):
            self.fail("a number begins with 0", line, "put quotes around account ids and file modes, or the 0 is lost")
        try:
            value = float(text)
        except (ValueError, OverflowError):  # pragma: no cover - the grammar lets only numbers through
            self.fail("this is no number", line, SUPPORTED)
        if abs(value) > 10**LONGEST_NUMBER:
            self.fail("a number is too large", line, "put it in quotes if it is an identifier")
        if tree.data == "int_lit":
            return Literal(int(text), line)
        return Literal(int(value) if value.is_integer() else value, line)

    def _string(self, tree: Tree[Token], depth: int) -> Expression:
        parts: list[str | Expression] = []
        for part in _trees(tree):
            child = part.children[0]
            line = self.line(child, self.line(tree))
            if isinstance(child, Tree) and child.data == "interpolation":
                parts.append(self.expression(_meaningful(child)[0], depth))
            elif isinstance(child, Tree):
                if child.data in DIRECTIVES:
                    self.fail("`%{ … }` directives are not supported", line, 'use a conditional: "${condition ? a : b}"')
                self.fail("this kind of text is not supported", line, SUPPORTED)  # pragma: no cover - no other kind in the grammar
            elif child.type == "STRING_CHARS":
                parts.append(self._unescape(str(child), line))
            else:
                parts.extend(self._escaped(str(child), line, depth))
        return self._template(parts, self.line(tree))

    def _escaped(self, text: str, line: int, depth: int) -> list[str | Expression]:
        r"""Read a `$${ … }` token: it stands for `${ … }`, and what follows its start is ordinary text again."""
        if re.search(r'(?<!\\)"|\n', text):
            self.fail(f"`{text[:3]}` has no `}}` in the same text", line, "close it before the quote, or use a heredoc")
        return [text[1:3], *self._pieces(text[3:], line, depth, escapes=True)]

    def _pieces(self, text: str, line: int, depth: int, *, escapes: bool) -> list[str | Expression]:
        parts: list[str | Expression] = []
        for piece, at, is_expression in split_template(text, self.path, line):
            if not is_expression:
                parts.append(self._unescape(piece, at) if escapes else piece)
                continue
            if depth > DEEPEST:
                self.fail("text is nested too deeply", at, CANNOT_NEST)
            tree = _single(piece, self.path, at, secret=True)
            parts.append(_Converter(self.path, piece, at - 1).expression(tree, depth + 1))
        return parts

    def _template(self, parts: list[str | Expression], line: int) -> Expression:
        joined: list[str | Expression] = []
        for part in parts:
            if isinstance(part, str) and joined and isinstance(joined[-1], str):
                joined[-1] += part
            else:
                joined.append(part)
        if not joined:
            return Literal("", line)
        first = joined[0]
        return Literal(first, line) if len(joined) == 1 and isinstance(first, str) else Template(tuple(joined), line)

    def _unescape(self, text: str, line: int) -> str:
        def one(match: re.Match[str]) -> str:
            code = match[1] or match[2]
            if code:
                number = int(code, 16)
                if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:  # noqa: PLR2004 - the limits of Unicode
                    self.fail(f"`\\u{code}` is no character", line, "use the number of a Unicode character")
                return chr(number)
            if match[3] not in ESCAPES:
                self.fail(f"`\\{match[3]}` is no escape", line, r"escapes are \n \r \t \" \\ \uNNNN; write a backslash as \\")
            return ESCAPES[match[3]]

        return ESCAPE.sub(one, text)

    def _heredoc(self, tree: Tree[Token], depth: int) -> Expression:
        raw, line = self._word(tree), self.line(tree)
        content = raw.split("\n")[1:-2]  # without the opening marker, the closing one, and what follows the last line break
        if tree.data == "heredoc_template_trim":
            indent = min((len(text) - len(text.lstrip(" ")) for text in content if text.strip()), default=0)
            content = [text[indent:] for text in content]
        text = "".join(f"{row}\n" for row in content)
        return self._template(self._pieces(text, line + 1, depth, escapes=False), line)

    def _list(self, tree: Tree[Token], depth: int) -> Expression:
        return ListOf(tuple(self.expression(item, depth) for item in _meaningful(tree)), self.line(tree))

    def _object(self, tree: Tree[Token], depth: int) -> Expression:
        pairs = []
        for element in _meaningful(tree):
            key, value = element.children[0], element.children[-1]
            pairs.append((self._key(key, depth), self.expression(value, depth)))
        return ObjectOf(tuple(pairs), self.line(tree))

    def _key(self, node: Node, depth: int) -> Expression:
        """Read the left side of `key = value`: a bare word is text, `(x)` is an expression."""
        line = self.line(node)
        inner = node
        while isinstance(inner, Tree) and inner.data in {"object_elem_key", "expr_term"}:
            if any(isinstance(child, Token) and child.type == "LPAR" for child in inner.children):
                return self.expression(inner, depth)
            inner = _meaningful(inner)[0]
        if isinstance(inner, Tree) and inner.data in {"identifier", "keyword", "literal_value", "int_lit", "float_lit"}:
            return Literal(self._word(inner), line)
        if not isinstance(inner, Tree) or inner.data != "string":
            self.fail("a key of a map must be a word or a text", line, "put parentheses around an expression: { (var.x) = 1 }")
        return self._string(inner, depth)

    def _call(self, tree: Tree[Token], depth: int) -> Expression:
        nodes = _meaningful(tree)
        names = [self._word(node) for node in nodes if node.data == "identifier"]
        arguments: tuple[Expression, ...] = ()
        expand = False
        for node in nodes:
            if node.data == "arguments":
                arguments = tuple(self.expression(item, depth) for item in _meaningful(node))
                expand = any(isinstance(child, Token) and child.type == "ELLIPSIS" for child in node.children)
        return Call("::".join(names), arguments, expand, self.line(tree))

    def _attribute(self, tree: Tree[Token], depth: int) -> Expression:
        of, access = _meaningful(tree)
        name = self._word(_meaningful(access)[0])
        return Attribute(self.expression(of, depth), name, self.line(access, self.line(tree)))

    def _index(self, tree: Tree[Token], depth: int) -> Expression:
        of, access = _meaningful(tree)
        line = self.line(access, self.line(tree))
        if access.data == "short_index":
            return Index(self.expression(of, depth), Literal(int(str(access.children[-1])[:LONGEST_NUMBER]), line), line)
        return Index(self.expression(of, depth), self.expression(_meaningful(access)[0], depth), line)

    def _conditional(self, tree: Tree[Token], depth: int) -> Expression:
        condition, yes, no = (self.expression(node, depth) for node in _meaningful(tree))
        return Conditional(condition, yes, no, self.line(tree))

    def _binary(self, tree: Tree[Token], depth: int) -> Expression:
        left, term = _meaningful(tree)
        operator, right = _meaningful(term)
        token = operator.children[0]
        kind = token.type if isinstance(token, Token) else ""
        return Binary(OPERATORS[kind], self.expression(left, depth), self.expression(right, depth), self.line(operator, self.line(tree)))

    def _unary(self, tree: Tree[Token], depth: int) -> Expression:
        token = tree.children[0]
        kind = token.type if isinstance(token, Token) else ""
        return Unary(OPERATORS[kind], self.expression(tree.children[-1], depth), self.line(tree))
