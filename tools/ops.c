/* ops.c - weft ops: the list of ops, the schema of one, the rewrite rules, docs/ops.md. */
#include "tools/verbs.h"

int verb_ops(weft_ctx *c, int argc, char **argv)
{
    bool rules = false, markdown = false, json = false;
    const cli_option option[] = {
        {"rules", CLI_FLAG, &rules, NULL, "the rewrite rules instead of the ops", 0, 0},
        {"markdown", CLI_FLAG, &markdown, NULL, "as docs/ops.md has it", 0, 0},
        {"json", CLI_FLAG, &json, NULL, "for machines", 0, 0},
        {0}};
    const cli_spec spec = {
        "ops",
        "[OP] [OPTION]...",
        "Lists the ops that a graph file may use, or shows the schema of OP: formula, inputs,\n"
        "outputs and attributes with their types, defaults and ranges.",
        option,
        0,
        1};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    const char *name = argc ? argv[0] : NULL;
    weft_doc_format f = json       ? WEFT_DOC_JSON
                        : markdown ? WEFT_DOC_MARKDOWN
                        : name     ? WEFT_DOC_TEXT
                                   : WEFT_DOC_LIST;
    char *text = NULL;
    if (rules ? weft_rules_text(c, f, &text) : weft_ops_text(c, name, f, &text))
        return cli_fail(c);
    return cli_print(c, text);
}
