// As much of a driver as the real cuDNN needs to compile plans without a GPU: it loads what it compiled,
// to see that it can be.
extern "C" {

int cuLibraryLoadData(void** library) {
    *library = library;
    return 0;
}
int cuLibraryGetKernel(void** kernel) {
    *kernel = kernel;
    return 0;
}
int cuKernelGetFunction(void** function) {
    *function = function;
    return 0;
}
int cuModuleLoadData(void** module) {
    *module = module;
    return 0;
}
int cuModuleGetFunction(void** function) {
    *function = function;
    return 0;
}
int cuLibraryUnload() { return 0; }
int cuModuleUnload() { return 0; }
int cuKernelSetAttribute() { return 0; }
int cuFuncSetAttribute() { return 0; }
int cuGetErrorString(int, const char** text) {
    *text = "a driver that only loads";
    return 0;
}
int cuGetErrorName(int, const char** name) {
    *name = "CUDA_ERROR_NO_DEVICE";
    return 0;
}

// All else needs a device.
#define NO_DEVICE(name)                                                                            \
    int name() { return 100; }
NO_DEVICE(cuCtxGetCurrent)
NO_DEVICE(cuCtxGetLimit)
NO_DEVICE(cuCtxPopCurrent)
NO_DEVICE(cuCtxPushCurrent)
NO_DEVICE(cuDeviceGet)
NO_DEVICE(cuDeviceGetCount)
NO_DEVICE(cuDriverGetVersion)
NO_DEVICE(cuInit)
NO_DEVICE(cuKernelGetAttribute)
NO_DEVICE(cuLaunchCooperativeKernel)
NO_DEVICE(cuLaunchKernel)
NO_DEVICE(cuLaunchKernelEx)
NO_DEVICE(cuLibraryLoadFromFile)
NO_DEVICE(cuLinkAddData)
NO_DEVICE(cuLinkComplete)
NO_DEVICE(cuLinkCreate)
NO_DEVICE(cuLinkDestroy)
NO_DEVICE(cuOccupancyMaxPotentialClusterSize)
NO_DEVICE(cuStreamGetCtx)
NO_DEVICE(cuTensorMapEncodeIm2col)
NO_DEVICE(cuTensorMapEncodeTiled)

} // extern "C"
