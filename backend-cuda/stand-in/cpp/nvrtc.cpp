// A stand-in for NVRTC: kernels become a shared library for the CPU.
//
//   CXX  the C++ compiler (g++)
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <iterator>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

struct Program {
    std::string source;
    std::vector<std::pair<std::string, std::string>> headers;
    std::string log, code;
};

static const int SUCCESS = 0, COMPILATION = 6, INTERNAL = 11;
static const int ARCHS[] = {80, 90, 100};

static std::string here() {
    Dl_info info;
    dladdr(reinterpret_cast<void*>(here), &info);
    std::string file = info.dli_fname;
    return file.substr(0, file.rfind('/'));
}

static std::string contents(const std::string& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

static std::string instructions() {
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
        return " -mavx2 -mfma -mf16c";
    }
#endif
    return "";
}

extern "C" {

int nvrtcVersion(int* major, int* minor) { return *major = 13, *minor = 0, SUCCESS; }
int nvrtcGetNumSupportedArchs(int* count) { return *count = 3, SUCCESS; }
int nvrtcGetSupportedArchs(int* archs) { return memcpy(archs, ARCHS, sizeof ARCHS), SUCCESS; }

int nvrtcCreateProgram(Program** program, const char* source, const char*, int count,
                       const char* const* headers, const char* const* names) {
    *program = new Program{source, {}, {}, {}};
    for (int i = 0; i < count; i++) {
        (*program)->headers.emplace_back(names[i], headers[i]);
    }
    return SUCCESS;
}
int nvrtcDestroyProgram(Program** program) { return delete *program, SUCCESS; }

int nvrtcCompileProgram(Program* program, int count, const char* const* options) {
    const char* temporary = getenv("TMPDIR");
    std::string folder = std::string(temporary ? temporary : "/tmp") + "/halovae-stand-in-XXXXXX";
    if (!mkdtemp(folder.data())) {
        return INTERNAL;
    }
    program->headers.emplace_back("kernels.cpp", program->source);
    for (auto& [name, text] : program->headers) {
        std::ofstream(folder + "/" + name) << text;
    }
    const char* compiler = getenv("CXX");
    std::string command = std::string(compiler ? compiler : "g++") +
                          " -std=c++17 -O2 -ftree-vectorize -ffp-contract=fast -fPIC -shared" + instructions() +
                          " -Wall -Wno-unknown-pragmas -DHALOVAE_STAND_IN -include '" + here() + "/kernel.h'";
    for (int i = 0; i < count; i++) {
        if (strncmp(options[i], "-D", 2) == 0) {
            command += std::string(" ") + options[i];
        }
    }
    command += " '" + folder + "/kernels.cpp' -o '" + folder + "/kernels.so' '" + here() + "/libcuda.so.1' 2> '" +
               folder + "/log'";
    int status = system(command.c_str());
    program->log = contents(folder + "/log");
    program->code = contents(folder + "/kernels.so");
    if (system(("rm -r '" + folder + "'").c_str()) != 0) {
        return INTERNAL;
    }
    return status == 0 ? SUCCESS : COMPILATION;
}

int nvrtcGetProgramLogSize(Program* program, size_t* bytes) { return *bytes = program->log.size() + 1, SUCCESS; }
int nvrtcGetProgramLog(Program* program, char* log) {
    memcpy(log, program->log.c_str(), program->log.size() + 1);
    return SUCCESS;
}
int nvrtcGetCUBINSize(Program* program, size_t* bytes) { return *bytes = program->code.size(), SUCCESS; }
int nvrtcGetCUBIN(Program* program, char* code) {
    memcpy(code, program->code.data(), program->code.size());
    return SUCCESS;
}
}
