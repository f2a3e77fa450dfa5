/* tokens.h - a tokenizer as train, eval and generate need it: bytes per token, prompts to ids, ids
 * to text. */
#ifndef WEFT_TOOLS_TOKENS_H
#define WEFT_TOOLS_TOKENS_H

#include "tools/bpe.h"

typedef struct {
    weft_ctx *ctx;
    weft_bpe *bpe;  /* NULL: there is none */
    int32_t *bytes; /* of each id; 0 for special ones */
    int32_t n;
} cli_tokens;

/* Loads a tokenizer; path NULL gives one that knows nothing. */
weft_status cli_tokens_open(weft_ctx *c, const char *path, cli_tokens *out);
/* How many ids the tokenizer of a trained model has, by its run, recipe or weights; 0: there is
 * none. */
weft_status cli_tokens_count(weft_ctx *c, const weft_trained *t, int64_t *out);
void cli_tokens_close(cli_tokens *t);
/* Can an id be shown? Without a tokenizer any can, as a number. */
bool cli_tokens_known(const cli_tokens *t, int32_t id);
/* How many bytes ids stand for; the callback of weft_train_options and weft_eval_options, user =
 * cli_tokens. */
int64_t cli_tokens_bytes(void *user, const int32_t *ids, int64_t n);

#endif
