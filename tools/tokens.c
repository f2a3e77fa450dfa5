/* tokens.c - a tokenizer as train, eval and generate need it: bytes per token. */
#include "tools/tokens.h"

weft_status cli_tokens_open(weft_ctx *c, const char *path, cli_tokens *out)
{
    *out = (cli_tokens){.ctx = c};
    if (!path)
        return weft_error_status(c); /* of looking for it */
    WEFT_TRY(weft_bpe_load(c, path, &out->bpe));
    out->n = weft_bpe_vocab(out->bpe);
    out->bytes = weft_alloc(c, sizeof *out->bytes * (size_t)out->n);
    if (!out->bytes) {
        cli_tokens_close(out);
        return weft_error_status(c);
    }
    for (int32_t i = 0; i < out->n; i++) {
        size_t n = 0;
        /* a document's end is predicted, but it is no text */
        if (!weft_bpe_is_special(out->bpe, i) && weft_bpe_token(out->bpe, i, &n))
            out->bytes[i] = (int32_t)n;
    }
    return WEFT_OK;
}

void cli_tokens_close(cli_tokens *t)
{
    weft_bpe_free(t->bpe);
    if (t->ctx)
        weft_free(t->ctx, t->bytes);
    *t = (cli_tokens){.ctx = t->ctx};
}

weft_status cli_tokens_count(weft_ctx *c, const weft_trained *t, int64_t *out)
{
    cli_tokens tokens;
    const char *path = weft_trained_file(t, WEFT_RECIPE_TOKENIZER);
    *out = 0;
    if (cli_tokens_open(c, path, &tokens))
        return weft_trained_note(t, path);
    *out = tokens.n;
    cli_tokens_close(&tokens);
    return WEFT_OK;
}

bool cli_tokens_known(const cli_tokens *t, int32_t id)
{
    size_t n;
    return !t->bpe || weft_bpe_token(t->bpe, id, &n);
}

int64_t cli_tokens_bytes(void *user, const int32_t *ids, int64_t n)
{
    const cli_tokens *t = user;
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++)
        if (ids[i] >= 0 && ids[i] < t->n)
            sum += t->bytes[ids[i]];
    return sum;
}
