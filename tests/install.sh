# install.sh - the installed tree serves other programs: docs/example.c built through pkg-config (shared and static) and
# through CMake, and run; the shared library exports what weft.h declares; the manual page is clean roff.
set -eu
fail() { echo "install: $*" >&2; exit 1; }
grep -q '^WEFT_SANITIZE:[A-Z]*=OFF' "$BUILD/CMakeCache.txt" || exit 77 # programs of others are not built with sanitizers
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$BUILD" --prefix "$work/usr" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
lib=$(dirname "$(find "$work/usr" -name libweft.so | head -n 1)")
[ -e "$lib/libweft.so.0" ] || fail "no libweft.so.0"
export PKG_CONFIG_PATH="$lib/pkgconfig"

run() { # program: it says a loss near ln 64 = 4.16
    out=$(LD_LIBRARY_PATH="$lib" "$1" "$work/usr/share/weft/models/gpt2.txtpb") || fail "$1 failed"
    case $out in
    "loss 4.1"*"logits 16 x 64") ;;
    *) fail "$1 printed: $out" ;;
    esac
    echo "$out" >>"$work/results"
}
cc=${CC:-gcc}
# shellcheck disable=SC2046  # flags are words
$cc -Wall -Wextra -Werror docs/example.c $(pkg-config --cflags --libs weft) -o "$work/shared"
run "$work/shared"
$cc docs/example.c $(pkg-config --cflags weft) "$lib/libweft.a" $(pkg-config --static --libs weft | sed 's/-lweft//') \
    -o "$work/static"
run "$work/static"

mkdir "$work/project"
cp docs/example.c "$work/project/"
cat >"$work/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(example LANGUAGES C)
find_package(Weft 0.1 REQUIRED)
add_executable(example example.c)
target_link_libraries(example PRIVATE weft::weft)
END
cmake -S "$work/project" -B "$work/project/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/usr" >"$work/log" 2>&1 &&
    cmake --build "$work/project/build" >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
run "$work/project/build/example"
[ "$(sort -u "$work/results" | wc -l)" = 1 ] || fail "the three programs disagree: $(cat "$work/results")"

# Exported: exactly the functions that the header declares.
nm -D --defined-only "$lib/libweft.so" | awk '$2 == "T" {print $3}' | sort >"$work/exported"
cat "$work/usr/include/weft.h" "$work/usr/include/weft_train.h" | tr '\n' ' ' | sed 's/;/;\n/g' | sed -n 's/.*WEFT_API \([^(]*\)(.*/\1/p' |
    sed 's/.*[ *]//' | grep '^weft_' | sort >"$work/declared"
diff "$work/declared" "$work/exported" || fail "declared (<) and exported (>) functions differ"
[ "$(wc -l <"$work/exported")" -gt 20 ] || fail "too few exported functions"

"$work/usr/bin/weft" --version >/dev/null || fail "the installed tool does not run"
if command -v man >/dev/null; then
    complaints=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z \
        "$work/usr/share/man/man1/weft.1" 2>&1 >/dev/null || true)
    [ -z "$complaints" ] || fail "manual page: $complaints"
fi
