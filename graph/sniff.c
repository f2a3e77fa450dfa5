/* sniff.c - files that are something else, by the magic numbers of their formats. */
#include "graph/sniff.h"

#include <stdint.h>
#include <string.h>

/* ---- formats with a magic number ---- */
#define CONVERT                                                                                    \
    "it holds a pickle, which is a program, so Weft reads safetensors only. Convert it where "     \
    "PyTorch is: tools/convert-pt FILE.pt FILE.safetensors"

#define UTF16 "text in UTF-16; write it as UTF-8 first: iconv -f UTF-16 -t UTF-8"

/* A magic number that text or token ids could begin with is longer than what others check. */
static const struct {
    const char *magic;
    size_t n;
    const char *is;
} kinds[] = {
    {"\x28\xb5\x2f\xfd", 4, "a zstd archive; unpack it first: zstd -d FILE"},
    {"\xfd"
     "7zXZ\0",
     6, "an xz archive; unpack it first: xz -d FILE"},
    {"\x04\x22\x4d\x18", 4, "an lz4 archive; unpack it first: lz4 -d FILE"},
    {"7z\xbc\xaf\x27\x1c", 6, "a 7z archive; unpack it first: 7z x FILE"},
    {"Rar!\x1a\x07", 6, "a RAR archive; unpack it first"},
    {"PAR1\x15", 5,
     "a Parquet file, a table; write its column of text as text first: python3 -c 'import pandas; "
     "print(\"<|endoftext|>\\n\".join(pandas.read_parquet(\"FILE\")[\"text\"]))' >FILE.txt"},
    {"ARROW1\0\0", 8,
     "an Arrow file, a table; write its column of text as text first (pyarrow.ipc.open_file)"},
    {"FEA1\0\0\0\0", 8,
     "a Feather file, a table; write its column of text as text first (pandas.read_feather)"},
    {"\x93NUMPY", 6,
     "a NumPy array (.npy); ids are written as a token file with numpy.load(\"FILE.npy\")"
     ".astype(\"uint16\").tofile(\"FILE.bin\"), weights as safetensors"},
    {"\x89HDF\r\n\x1a\n", 8, "an HDF5 file; write weights as safetensors, text as text"},
    {"%PDF-", 5, "a PDF document; write its text first: pdftotext FILE"},
    {"\x89PNG\r\n\x1a\n", 8, "a PNG image"},
    {"\xff\xd8\xff\xe0", 4, "a JPEG image"},
    {"\xff\xd8\xff\xe1", 4, "a JPEG image"},
    {"\xff\xd8\xff\xdb", 4, "a JPEG image"},
    {"GIF89a", 6, "a GIF image"},
    {"GIF87a", 6, "a GIF image"},
    {"\x7f"
     "ELF\1\1\1",
     7, "an ELF file, a program or library"},
    {"\x7f"
     "ELF\2\1\1",
     7, "an ELF file, a program or library"},
    {"SQLite format 3\0", 16, "an SQLite database"},
    {"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 8, "an old Microsoft Office document; save it as text"},
    {"{\\rtf1", 6, "a document in RTF; save it as text"},
    {"\x80\x02\x8a\x0a", 4, "a pickle of an old PyTorch; " CONVERT},
    {"WEFTLBL\n", 8, "a label file of weft labels"},
    {"IQ== 0\nIg== 1\n", 14,
     "a vocabulary of tiktoken; Weft reads tokenizer.json, or vocab.json with merges.txt"},
};

static uint32_t get(const unsigned char *p, int bytes)
{
    uint32_t x = 0;
    while (bytes--)
        x = x << 8 | p[bytes];
    return x;
}

static bool ends_with(const unsigned char *p, size_t n, const char *end)
{
    size_t k = strlen(end);
    return n >= k && !memcmp(p + n - k, end, k);
}

/* RFC 1952: deflate, no reserved flags, a known level and system. */
static bool is_gzip(const unsigned char *p, size_t n)
{
    return n >= 10 && p[0] == 0x1f && p[1] == 0x8b && p[2] == 8 && !(p[3] & 0xe0) &&
           (p[8] == 0 || p[8] == 2 || p[8] == 4) && (p[9] <= 13 || p[9] == 255);
}

/* A first member of the archive, or the end of an empty one. */
static bool is_zip(const unsigned char *p, size_t n)
{
    return n >= 22 && (!memcmp(p, "PK\3\4", 4) || !memcmp(p, "PK\5\6\0\0\0\0", 8));
}

/* What a zip archive is, by the name of its first member. */
static const char *zip_kind(const unsigned char *p, size_t n)
{
    const unsigned char *name = p + 30;
    size_t len = n > 30 ? get(p + 26, 2) : 0;
    if (len > n - 30)
        len = n > 30 ? n - 30 : 0;
    if (ends_with(name, len, ".npy"))
        return "NumPy arrays (.npz, a zip archive); ids are written as a token file with "
               "numpy.load(\"FILE.npz\")[NAME].astype(\"uint16\").tofile(\"FILE.bin\")";
    if (ends_with(name, len, "data.pkl") || ends_with(name, len, ".format_version"))
        return "a zip archive, as PyTorch's .pt, .pth and .bin files are; " CONVERT;
    if (ends_with(name, len, "[Content_Types].xml") || ends_with(name, len, ".rels"))
        return "a Microsoft Office document (.docx, .xlsx); save it as text";
    if (ends_with(name, len, "mimetype"))
        return "an OpenDocument or EPUB document; save it as text";
    return "a zip archive, as PyTorch's .pt, .pth and .bin files are; text in it is unpacked "
           "first: "
           "unzip FILE; weights are converted where PyTorch is: tools/convert-pt FILE.pt "
           "FILE.safetensors";
}

static bool is_bzip2(const unsigned char *p, size_t n)
{
    return n >= 10 && !memcmp(p, "BZh", 3) && p[3] >= '1' && p[3] <= '9' &&
           !memcmp(p + 4, "\x31\x41\x59\x26\x53\x59", 6);
}

/* The stream format, in which Hugging Face's datasets keeps its tables: a schema comes first. */
static bool is_arrow_stream(const unsigned char *p, size_t n)
{
    return n >= 16 && !memcmp(p, "\xff\xff\xff\xff", 4) && get(p + 4, 4) < 1 << 20 &&
           !memcmp(p + 8, "\x10\0\0\0\0\0\x0a\0", 8);
}

/* A header of JSON behind its length. */
static bool is_safetensors(const unsigned char *p, size_t n)
{
    return n >= 16 && get(p, 4) >= 2 && get(p, 4) <= 100000000 && !get(p + 4, 4) && p[8] == '{' &&
           (p[9] == '"' || p[9] == '}' || (p[9] == ' ' && p[10] == '"'));
}

static bool is_gguf(const unsigned char *p, size_t n)
{
    return n >= 8 && !memcmp(p, "GGUF", 4) && get(p + 4, 4) < 100;
}

/* The first piece of a SentencePiece model is <unk>. */
static bool is_sentencepiece(const unsigned char *p, size_t n)
{
    return n >= 9 && p[0] == 0x0a && !memcmp(p + 2, "\x0a\x05<unk>", 7);
}

/* Protocol 4 or 5, a frame of less than 4 GiB. */
static bool is_pickle(const unsigned char *p, size_t n)
{
    return n >= 11 && p[0] == 0x80 && (p[1] == 4 || p[1] == 5) && p[2] == 0x95 && !get(p + 7, 4);
}

static bool is_tar(const unsigned char *p, size_t n)
{
    return n >= 512 && !memcmp(p + 257, "ustar", 5) && (!p[262] || p[262] == ' ');
}

/* The mark and three characters of ASCII, or the end. */
static bool is_utf16(const unsigned char *p, size_t n, bool little)
{
    bool mark = n >= 8 && p[0] == (little ? 0xff : 0xfe) && p[1] == (little ? 0xfe : 0xff);
    for (size_t i = 2; mark && i < 8; i += 2)
        mark = !p[i + little] && p[i + !little] >= '\t' && p[i + !little] < 0x7f;
    return mark;
}

const char *weft_kind_of(const void *head, size_t n)
{
    const unsigned char *p = head;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (n >= kinds[i].n && !memcmp(p, kinds[i].magic, kinds[i].n))
            return kinds[i].is;
    if (is_zip(p, n))
        return zip_kind(p, n);
    if (is_utf16(p, n, true) || is_utf16(p, n, false))
        return UTF16;
    return is_gzip(p, n)    ? "a gzip archive; unpack it first: gzip -d FILE"
           : is_bzip2(p, n) ? "a bzip2 archive; unpack it first: bzip2 -d FILE"
           : is_tar(p, n)   ? "a tar archive; unpack it first: tar xf FILE"
           : is_arrow_stream(p, n)
               ? "an Arrow stream, a table as Hugging Face's datasets keeps it; write its column "
                 "of text as text first (pyarrow.ipc.open_stream)"
           : is_safetensors(p, n) ? "a safetensors file, which holds weights"
           : is_pickle(p, n)      ? "a Python pickle; Weft reads none, as they are programs"
           : is_gguf(p, n) ? "a GGUF file, made for inference; Weft reads the safetensors it was "
                             "made from"
           : is_sentencepiece(p, n)
               ? "a SentencePiece model (tokenizer.model); Weft reads byte-level BPE in "
                 "tokenizer.json, or vocab.json with merges.txt"
               : NULL;
}

/* ---- text ---- */
/* Length of the well-formed UTF-8 sequence at p, 0 if there is none, 1 beyond 4: the end cuts it
 * (Unicode 15, table 3-7). */
static int sequence(const unsigned char *p, size_t n, bool *cut)
{
    int len = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
    unsigned char low = *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : 0x80;
    unsigned char high = *p == 0xed ? 0x9f : *p == 0xf4 ? 0x8f : 0xbf;
    for (int i = 1; i < len; i++, low = 0x80, high = 0xbf) {
        *cut = (size_t)i == n;
        if (*cut || p[i] < low || p[i] > high)
            return 0;
    }
    return len;
}

static bool is_control(unsigned char c)
{
    return (c < 0x20 && !(c >= '\b' && c <= '\r') && c != 0x1b) || c == 0x7f;
}

weft_text_look weft_look_at_text(const void *head, size_t n)
{
    const unsigned char *p = head;
    weft_text_look look = {.bytes = n};
    for (size_t i = 0; i < n;) {
        bool cut = false;
        int len = sequence(p + i, n - i, &cut);
        if (cut)
            break;
        look.controls += len == 1 && is_control(p[i]);
        look.invalid += !len;
        i += len ? (size_t)len : 1;
    }
    return look;
}

/* Text of mostly Latin letters in UTF-16 without a mark: every second byte is 0. */
static bool every_second_is_zero(const unsigned char *p, size_t n, size_t from)
{
    size_t zero = 0, other = 0;
    for (size_t i = from; i < n; i += 2)
        zero += !p[i];
    for (size_t i = 1 - from; i < n; i += 2)
        other += !p[i];
    return n >= 16 && zero * 10 >= n / 2 * 9 && other * 100 < n;
}

const char *weft_no_text(const void *head, size_t n)
{
    const unsigned char *p = head;
    weft_text_look look = weft_look_at_text(head, n);
    if (n >= 4 && (!memcmp(p, "\xff\xfe\0\0", 4) || !memcmp(p, "\0\0\xfe\xff", 4)))
        return "text in UTF-32; write it as UTF-8 first: iconv -f UTF-32 -t UTF-8";
    if ((n >= 2 && (!memcmp(p, "\xff\xfe", 2) || !memcmp(p, "\xfe\xff", 2))) ||
        every_second_is_zero(p, n, 1) || every_second_is_zero(p, n, 0))
        return UTF16;
    if (n < 32)
        return NULL;
    if (look.controls * 100 > n)
        return "binary: more than 1 % of its first bytes are control characters";
    if (look.invalid * 10 > n)
        return "no UTF-8: more than 10 % of its first bytes are in no character. If it is text in "
               "another encoding, write it as UTF-8 first: iconv -f LATIN1 -t UTF-8";
    return NULL;
}

bool weft_surely_text(const void *head, size_t n)
{
    weft_text_look look = weft_look_at_text(head, n);
    return n >= 128 && !look.controls && !look.invalid && !memchr(head, 0x1b, n) &&
           !memchr(head, '\b', n);
}
