/* clones.h - functions compiled for several instruction sets, of which the loader picks one.
 *
 * The picking runs before a program begins and before ThreadSanitizer is ready: under it there is
 * one version only. */
#ifndef WEFT_CLONES_H
#define WEFT_CLONES_H

#if defined(__SANITIZE_THREAD__)
#define WEFT_CLONES_UNDER_TSAN
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WEFT_CLONES_UNDER_TSAN
#endif
#endif

/* WEFT_CLONES_FOR("avx2", "default") in front of a function. */
#if defined(__x86_64__) && !defined(WEFT_CLONES_UNDER_TSAN)
#define WEFT_CLONES_FOR(...) __attribute__((target_clones(__VA_ARGS__)))
#else
#define WEFT_CLONES_FOR(...)
#endif

#endif
