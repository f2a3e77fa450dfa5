/* fuzz_text.c - the text reader, for every kind of message; what it takes is written and read back
 * as the same. */
#include "everything.pb-c.h"
#include "graph/load.h"
#include "names.pb-c.h"
#include "tests/fuzz/fuzz.h"

static const ProtobufCMessageDescriptor *const kinds[] = {
    &weft__model__descriptor, &weft__recipe__descriptor, &weft__names__descriptor,
    &weft_test__everything__descriptor};

static void read_as(const ProtobufCMessageDescriptor *d, const uint8_t *data, size_t n)
{
    weft_ctx *c = fuzz_open((size_t)64 << 20, true);
    weft_arena *a = weft_arena_new(c, 0);
    weft_lines *lines = a ? weft_lines_new(a) : NULL;
    ProtobufCMessage *m;
    if (lines && fuzz_done(c, weft_text_parse(a, d, (const char *)data, n, "input", lines, &m)))
        fuzz_message_again(a, m);
    weft_arena_free(a);
    fuzz_close(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    for (size_t i = 0; n <= 65536 && i < sizeof kinds / sizeof *kinds; i++)
        read_as(kinds[i], data, n);
    return 0;
}
