/* example.c - a program that uses libweft: load a model file, run it once, look at what comes out.
 *
 *   cc example.c $(pkg-config --cflags --libs weft) -o example
 *   ./example models/gpt2.txtpb */
#include <stdio.h>
#include <weft.h>

static int complain(weft_ctx *c)
{
    fprintf(stderr, "example: %s\n", weft_error(c));
    return weft_error_status(c);
}

int main(int argc, char **argv)
{
    /* A GPT-2 that fits anywhere: parameters of the entry module, as --set gives them to the tool.
     */
    const char *const set[] = {"n_layer=2", "n_head=2", "d=32", "vocab=64", "ctx=16", "B=1"};
    const char *const fetch[] = {"loss", "logits"};
    weft_ctx *c = weft_open(NULL);
    weft_model *model = NULL;
    weft_graph *graph = NULL;
    weft_session *session = NULL;
    weft_program *program = NULL;
    const weft_compile_options options = {.train = false};

    if (!c || argc != 2) {
        fprintf(stderr, "usage: example MODEL\n");
        return WEFT_USAGE;
    }
    if (weft_model_load(c, argv[1], set, 6, &model) || weft_graph_expand(model, &graph) ||
        weft_session_new(c, false, &session) ||
        weft_program_compile(session, graph, fetch, 2, &options, &program) ||
        weft_session_init(session, 1))
        return complain(c);

    weft_type t;
    int32_t *tokens = weft_program_input(program, "tokens", &t);   /* i32[1,16] */
    int32_t *targets = weft_program_input(program, "targets", &t); /* i32[1,16] */
    for (int i = 0; i < 16; i++) {
        tokens[i] = i;
        targets[i] = i + 1;
    }
    if (weft_program_run(program))
        return complain(c);

    const float *loss = weft_program_output(program, "loss", NULL);
    const float *logits = weft_program_output(program, "logits", &t); /* f32[1,16,64] */
    printf("loss %.4f, first logit %.4f, logits %lld x %lld\n", *loss, logits[0],
           (long long)t.dim[1], (long long)t.dim[2]);

    weft_session_free(session);
    weft_graph_free(graph);
    weft_model_free(model);
    weft_close(c);
    return 0;
}
