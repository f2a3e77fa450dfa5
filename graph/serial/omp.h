/* omp.h - OpenMP where the compiler has none: loops run on one thread, oneDNN still has a runtime of
 * its own, which must be told to use one as well. On the include path of such builds alone. */
#ifndef WEFT_SERIAL_OMP_H
#define WEFT_SERIAL_OMP_H

int omp_get_max_threads(void);
void omp_set_num_threads(int n);
int omp_get_thread_num(void);

#endif
