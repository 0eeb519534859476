"""Compiled operations: one prepared statement whose result is the response's `data`, written by PostgreSQL.

An operation goes four steps, each kept for the next time:

1. `plans` parses and validates the document (kept by its text and the operation's name).
2. `selection` collects what is selected into a tree of fields: fragments are spread, directives applied, duplicate
   response keys merged (kept by the values of the variables that decide it).
3. `arguments` makes the *request* of every field that takes arguments: a frozen dataclass, made and checked by the
   same function that the field's resolver calls. A request falls into its *shape* (what is given, booleans, enums)
   and its *values*.
4. `builder` turns the tree and the shapes into a SELECT with a slot for each value: an object is the text of its JSON,
   joined by `texts`, a list or another row a LATERAL join (kept, as a plan, by all of the above). A plan holds no value
   that came with a request, not even one that stands in the document.

A document seen before costs two look-ups, the requests, and the statement itself; nothing is parsed, validated or
walked, and what PostgreSQL answers is passed on unread.

`mapping` has the words in which a field says how it is read in SQL; they stand beside the field in its type. The lists
themselves are defined in `db`, once for the loaders and for this. A root field in which something has no mapping is for
Strawberry's executor. So is whatever would be an error: a bad argument, an operation too large, a statement that failed
for an unforeseen reason. Only a statement that took too long is told at once.

Where some root fields can be compiled and others not, each of the former has a statement of its own. The executor runs
them first, in the transaction in which it reads the others, so that an answer is always made from one snapshot; it
puts their JSON in its place unread, which leaves order, errors and nulls to it.

Lists that were cut are told by a second column, `cuts`: a text of entries, each begun by a mark, to which every level
adds its own steps of the path.
"""
