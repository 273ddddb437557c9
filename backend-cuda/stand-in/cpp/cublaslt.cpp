// A stand-in for cuBLASLt, which cuDNN wants to be there.
#include <cstddef>

extern "C" size_t cublasLtGetVersion() { return 130000; }
