/* steer.h - steering on the command line: what the words after --steer mean. */
#ifndef WEFT_TOOLS_STEER_H
#define WEFT_TOOLS_STEER_H

#include "tools/verbs.h"

#define CLI_STEER_AT      "concept_logits"
#define CLI_STEER_HELP    "change a concept: ID*F times, ID+V, ID-V, ID=V; may be repeated"
#define CLI_STEER_AT_HELP "value that is steered (default " CLI_STEER_AT ")"

typedef struct {
    weft_intervention item[CLI_LIST_MAX];
    char attrs[CLI_LIST_MAX][96]; /* what the items point to */
    int n;
} cli_steering;

/* Interventions "ID*F", "ID+V", "ID-V" and "ID=V" on the value `at`. `on`: prompt, generated or
 * all. WEFT_USAGE, said in c, for anything else. */
weft_status cli_steering_parse(weft_ctx *c, const cli_list *text, const char *at, const char *on,
                               cli_steering *out);
/* Refuses --steer-at, --steer-on and --compare without --steer: -1, or the exit code. */
int cli_steering_check(const char *verb, const cli_list *text);

#endif
