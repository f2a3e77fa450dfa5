/* measure_print.c - measured steering as a table and as JSON. */
#include <math.h>
#include <string.h>

#include "tools/measure.h"

/* ---- table ---- */
/* A column's number, or "-" where nobody judged. */
static void put_number(FILE *f, int width, int decimals, double v)
{
    if (isfinite(v))
        fprintf(f, " %*.*f", width, decimals, v);
    else
        fprintf(f, " %*s", width, "-");
}

/* Perplexities as people read them: 12.3, 1234, 1.2e+06. */
static void put_perplexity(FILE *f, double loss)
{
    double v = exp(loss);
    if (isfinite(v) && v >= 1e6)
        fprintf(f, " %9.2e", v);
    else
        put_number(f, 9, v < 1000 ? 2 : 0, v);
}

static void put_row(const measure_row *r, FILE *f)
{
    char name[32] = "unsteered";
    if (!r->plain)
        snprintf(name, sizeof name, "%g", r->strength);
    fprintf(f, "%-10s", name);
    put_perplexity(f, r->mean[MEASURE_STUDENT]);
    put_perplexity(f, r->mean[MEASURE_TEACHER]);
    put_number(f, 8, 2, 100 * r->mean[MEASURE_ACTIVE]);
    if (!r->plain && isfinite(r->change_error[MEASURE_ACTIVE]))
        fprintf(f, " %+7.2f +- %-5.2f", 100 * r->change[MEASURE_ACTIVE],
                100 * r->change_error[MEASURE_ACTIVE]);
    else
        fprintf(f, " %16s", "");
    put_number(f, 10, 4, r->mean[MEASURE_ACTIVATION]);
    put_number(f, 10, 2, 100 * r->mean[MEASURE_PREDICTED]);
    put_number(f, 7, 2, 100 * r->mean[MEASURE_KEPT]);
    put_number(f, 10, 3, r->mean[MEASURE_DISTINCT]);
    fputc('\n', f);
}

static weft_status decode(const measurement *m, const int32_t *id, int64_t n, weft_string *out)
{
    weft_decoder d = {.bpe = m->tokens.bpe};
    for (int64_t i = 0; i < n; i++)
        if (!m->tokens.bpe)
            weft_string_printf(out, "%s%d", i ? " " : "", id[i]);
        else if (id[i] != weft_bpe_end(m->tokens.bpe))
            WEFT_TRY(weft_decoder_add(&d, id[i], out));
    if (m->tokens.bpe)
        weft_decoder_end(&d, out);
    return weft_error_status(m->ctx);
}

/* One line each, so that they can be compared. */
static weft_status put_texts(const measurement *m, const measure_row *r, FILE *f)
{
    weft_status s = WEFT_OK;
    for (int64_t i = 0; i < m->o.show && i < m->o.prompts && !s; i++) {
        weft_string text;
        weft_string_init(&text, m->ctx);
        s = decode(m, r->text + i * m->length + m->first, m->o.tokens, &text);
        fprintf(f, "    %lld: ", (long long)i);
        for (const char *p = text.s; !s && p && *p; p++)
            fputc((unsigned char)*p < ' ' ? ' ' : *p, f);
        fputc('\n', f);
        weft_string_free(&text);
    }
    return s;
}

weft_status measure_print(measurement *m, FILE *f)
{
    static const char *const on[] = {"all", "prompt", "generated"};
    for (int i = 0; i < m->n_concept; i++) {
        const measure_concept *c = &m->concept[i];
        fprintf(f, "%sconcept %lld: %s %s on %s positions, %lld texts of %lld + %lld tokens\n",
                i ? "\n" : "", (long long)c->id, m->o.at, m->o.how, on[m->where],
                (long long)m->o.prompts, (long long)m->first, (long long)m->o.tokens);
        fprintf(f, "%-10s %9s %9s %8s %-16s %10s %10s %7s %10s\n", "strength", "ppl model",
                "ppl judge", "active%", "  change +- error", "activation", "predicted%", "kept%",
                "distinct-2");
        for (int k = 0; k <= m->n_strength; k++) {
            put_row(&c->row[k], f);
            WEFT_TRY(put_texts(m, &c->row[k], f));
        }
    }
    return WEFT_OK;
}

/* ---- JSON ---- */
static const char *const key[MEASURES] = {"loss",      "judge_loss", "active",    "activation",
                                          "predicted", "kept",       "distinct_2"};

static void put_measures(const measure_row *r, FILE *f)
{
    char name[64];
    for (int k = 0; k < MEASURES; k++) {
        cli_json_number(f, ",", key[k], r->mean[k]);
        snprintf(name, sizeof name, "%s_error", key[k]);
        cli_json_number(f, ",", name, r->error[k]);
        snprintf(name, sizeof name, "%s_change", key[k]);
        cli_json_number(f, ",", name, r->change[k]);
        snprintf(name, sizeof name, "%s_change_error", key[k]);
        cli_json_number(f, ",", name, r->change_error[k]);
    }
    cli_json_number(f, ",", "perplexity", exp(r->mean[MEASURE_STUDENT]));
    cli_json_number(f, ",", "judge_perplexity", exp(r->mean[MEASURE_TEACHER]));
}

static void put_ids(const measurement *m, const measure_row *r, FILE *f)
{
    fputs(",\"tokens\":[", f);
    for (int64_t i = 0; i < m->o.prompts; i++) {
        const int32_t *text = r->text + i * m->length;
        fputs(i ? ",[" : "[", f);
        for (int64_t k = 0; k < m->length; k++)
            fprintf(f, "%s%d", k ? "," : "", text[k]);
        fputc(']', f);
    }
    fputc(']', f);
}

weft_status measure_json(measurement *m, FILE *f)
{
    const char *weights = weft_trained_weights(m->trained);
    static const char *const on[] = {"all", "prompt", "generated"};
    fputs("{\"weights\":", f);
    cli_json_text(f, weights ? weights : "");
    fputs(",\"at\":", f);
    cli_json_text(f, m->o.at);
    fprintf(f, ",\"how\":\"%s\",\"on\":\"%s\",\"prompts\":%lld,\"prompt_tokens\":%lld", m->o.how,
            on[m->where], (long long)m->o.prompts, (long long)m->first);
    fprintf(f, ",\"new_tokens\":%lld,\"k\":%lld,\"seed\":%lld", (long long)m->o.tokens,
            (long long)m->o.k, (long long)m->o.seed);
    cli_json_number(f, ",", "temperature", m->o.draw.temperature);
    fputs(",\"concepts\":[", f);
    for (int i = 0; i < m->n_concept; i++) {
        fprintf(f, "%s\n {\"id\":%lld,\"rows\":[", i ? "," : "", (long long)m->concept[i].id);
        for (int k = 0; k <= m->n_strength; k++) {
            const measure_row *r = &m->concept[i].row[k];
            cli_json_number(f, k ? ",\n  {" : "\n  {", "strength", r->strength);
            put_measures(r, f);
            put_ids(m, r, f);
            fputc('}', f);
        }
        fputs("]}", f);
    }
    fputs("]}\n", f);
    return WEFT_OK;
}
