/* steer.c - steering words to interventions, and weft steer: a steered model as a model of its own.
 */
#include "tools/steer.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/util.h"

/* Digits only, below 2^31. */
static bool read_id(const char *s, size_t n, long *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)s[i]) || *out > (INT32_MAX - 9) / 10)
            return false;
        *out = *out * 10 + (s[i] - '0');
    }
    return n > 0;
}

static bool read_amount(const char *s, double *out)
{
    char *end = NULL;
    errno = 0;
    if (!*s || isspace((unsigned char)*s) || strpbrk(s, "xXnN"))
        return false;
    *out = strtod(s, &end);
    return !*end && !errno && isfinite((float)*out);
}

static weft_status parse(weft_ctx *c, const char *word, char *attrs, size_t n)
{
    size_t digits = strcspn(word, "*+-=");
    long id;
    double v;
    char shown[128];
    weft_printable(shown, sizeof shown, word);
    if (!word[digits])
        return weft_fail(c, WEFT_USAGE,
                         "--steer=%s: expected ID*F, ID+V, ID-V or ID=V, like 17*4 or 17=2.5",
                         shown);
    if (!read_id(word, digits, &id))
        return weft_fail(c, WEFT_USAGE,
                         "--steer=%s: expected the number of a concept before '%c', like 17%c4",
                         shown, word[digits], word[digits]);
    if (!read_amount(word + digits + 1, &v))
        return weft_fail(c, WEFT_USAGE, "--steer=%s: expected a finite number behind '%c'", shown,
                         word[digits]);
    const char *how = word[digits] == '*' ? "scale" : word[digits] == '=' ? "set" : "add";
    snprintf(attrs, n, "id=%ld how=%s amount=%.17g", id, how, word[digits] == '-' ? -v : v);
    return WEFT_OK;
}

static weft_status parse_where(weft_ctx *c, const char *on, weft_where *out)
{
    static const char *const names[] = {"all", "prompt", "generated"};
    char shown[128];
    for (int i = 0; i < 3; i++)
        if (!strcmp(on, names[i])) {
            *out = (weft_where)i;
            return WEFT_OK;
        }
    const char *near = weft_nearest(on, names, 3);
    return weft_fail(c, WEFT_USAGE, "--steer-on=%s: expected prompt, generated or all%s%s%s",
                     weft_printable(shown, sizeof shown, on), near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}

weft_status cli_steering_parse(weft_ctx *c, const cli_list *text, const char *at, const char *on,
                               cli_steering *out)
{
    weft_where where = WEFT_ON_ALL;
    out->n = 0;
    WEFT_TRY(parse_where(c, on, &where));
    for (int i = 0; i < text->n; i++) {
        WEFT_TRY(parse(c, text->item[i], out->attrs[i], sizeof out->attrs[i]));
        out->item[i] = (weft_intervention){at, "steer", out->attrs[i], where};
        out->n = i + 1;
    }
    return WEFT_OK;
}

/* ---- the verb ---- */
int verb_steer(weft_ctx *c, int argc, char **argv)
{
    cli_list set = {{0}, 0}, steer = {{0}, 0};
    const char *weights = NULL, *dir = NULL, *at = CLI_STEER_AT;
    static cli_steering s;
    const cli_option option[] = {
        {"steer", CLI_LIST, &steer, "ID*F", CLI_STEER_HELP, 0, 0},
        {"steer-at", CLI_TEXT, &at, "NAME", CLI_STEER_AT_HELP, 0, 0},
        {"out", CLI_TEXT, &dir, "DIR", "where the steered model goes", 0, 0},
        {"weights", CLI_TEXT, &weights, "PATH",
         "weights for a recipe or model file: safetensors, checkpoint or run", 0, 0},
        {"set", CLI_LIST, &set, "NAME=VALUE", "parameter of the model, field of the recipe", 0, 0},
        {0}};
    const cli_spec spec = {
        "steer",
        "RUN|CHECKPOINT|RECIPE|MODEL --steer ID*F --out DIR [OPTION]...",
        "Saves a steered model: DIR/model.txtpb is the flat graph with the changes as nodes,\n"
        "DIR/model.safetensors its weights. 'weft generate DIR' and 'weft eval DIR' use it.",
        option,
        1,
        1};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    if (!dir || !steer.n)
        return cli_usage("steer", "--steer=ID*F and --out=DIR are needed");
    weft_trained *t = NULL;
    if (cli_steering_parse(c, &steer, at, "all", &s) ||
        weft_trained_open(c, argv[0], weights, set.item, set.n, &t))
        return cli_fail(c);
    code = weft_trained_save(t, s.item, s.n, dir) ? cli_fail(c) : WEFT_OK;
    if (!code)
        printf("saved %s: use it with 'weft generate %s' or 'weft eval %s'\n", dir, dir, dir);
    weft_trained_free(t);
    return code;
}
