// The host build of the CUDA kernels: every .cu file of this folder in one library, called through ctypes.
#include "activate_bfloat16.cu"
#include "activate_float16.cu"
#include "adjoint.cu"
#include "adjoint_fan.cu"
#include "backproject.cu"
#include "backproject_fan.cu"
#include "combine.cu"
#include "crop.cu"
#include "filter_in.cu"
#include "filter_out.cu"
#include "first_layer_bfloat16.cu"
#include "first_layer_float16.cu"
#include "follow.cu"
#include "forward.cu"
#include "forward_fan.cu"
#include "normal.cu"
#include "project.cu"
#include "project_fan.cu"
#include "publish.cu"
#include "residual.cu"
#include "rows_adjoint_float16.cu"
#include "rows_adjoint_float32.cu"
#include "rows_forward_float16.cu"
#include "rows_forward_float32.cu"
#include "step.cu"
#include "whole.cu"

// Sizes in bytes, for a test that the structs here are those of launch.py and operators/joseph.py.
extern "C" void struct_sizes(int *sizes) {
    const size_t found[5] = {sizeof(Image), sizeof(Block), sizeof(Task), sizeof(ParallelRays), sizeof(FanRays)};
    for (int i = 0; i < 5; ++i) sizes[i] = (int)found[i];
}
