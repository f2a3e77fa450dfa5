/* pack.c - weft pack: a model file and all its imports as one file, text or binary. */
#include "tools/verbs.h"

int verb_pack(weft_ctx *c, int argc, char **argv)
{
    const cli_option option[] = {{0}};
    const cli_spec spec = {
        "pack",
        "MODEL OUTPUT",
        "Writes MODEL with its imports merged into one file: packed bytes when OUTPUT ends in\n"
        ".binpb, text otherwise. Both forms are read by every verb.",
        option,
        2,
        2};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    weft_model *m = NULL;
    weft_status s = weft_model_load(c, argv[0], NULL, 0, &m);
    if (!s)
        s = weft_model_save(m, argv[1]);
    weft_model_free(m);
    return s ? cli_fail(c) : WEFT_OK;
}
