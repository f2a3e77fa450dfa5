/* fuzz_import.c - weights and descriptions of other programs: imported, exported and imported again
 * they are the same bytes.
 *
 * Parts: names (a shipped map, or map.txtpb for the part of that name), set (a setting a line); the
 * others are files of one folder. */
#include "tests/fuzz/fuzz.h"

static void use(weft_ctx *c, const weft_convert_options *o)
{
    weft_convert_result r = {0}, r2 = {0}, r3 = {0};
    if (!fuzz_done(c, weft_weights_import(c, "in", "out.safetensors", o, &r)))
        return;
    weft_convert_options plain = {
        .names = o->names, .set = o->set, .n_set = o->n_set, .more_settings = true};
    if (fuzz_done(c, weft_weights_export(c, "out.safetensors", "back", &plain, &r2)) &&
        fuzz_done(c, weft_weights_import(c, "back", "out2.safetensors", &plain, &r3))) {
        size_t n, k;
        const uint8_t *x = fuzz_content("out.safetensors", &n),
                      *y = fuzz_content("out2.safetensors", &k);
        FUZZ_REQUIRE(n == k && !memcmp(x, y, n), "exported and imported again it is another file");
    }
    weft_convert_result_free(c, &r);
    weft_convert_result_free(c, &r2);
    weft_convert_result_free(c, &r3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_part part[FUZZ_PARTS];
    char map[32] = "hf-gpt2";
    char *set[16];
    int parts = fuzz_split(data, n, "config.json", part);
    const fuzz_part *names = fuzz_find(part, parts, "names");
    int n_set = fuzz_lines(fuzz_find(part, parts, "set"), set, 16);
    weft_ctx *c = fuzz_open((size_t)256 << 20, false);
    fuzz_files("in", part, parts);
    if (names) {
        snprintf(map, sizeof map, "%.*s", (int)names->n, (const char *)names->data);
        map[strcspn(map, "\n")] = 0;
    }
    use(c, &(weft_convert_options){.names = strcmp(map, "map.txtpb") ? map : "in/map.txtpb",
                                   .set = (const char *const *)set,
                                   .n_set = n_set});
    if (n_set)
        free(set[0]);
    fuzz_close(c);
    return 0;
}
