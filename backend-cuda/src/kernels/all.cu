// Every kernel, for one stored element.
#include "attention.cuh"
#include "elementwise.cuh"
#include "stage.cuh"
#include "stats.cuh"
#include "transfer.cuh"
#include "trial.cuh"
#if HALF
#include "product_half.cuh"
#if HOPPER
#include "product_hopper.cuh"
#endif
#else
#include "product_f32.cuh"
#endif
