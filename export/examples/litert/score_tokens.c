// Scores one row of token ids in C, with nothing but LiteRT's shared library.
//
//   cc -O2 score_tokens.c -o score_tokens -L"$LITERT" -lLiteRt -Wl,-rpath,"$LITERT"
//   ./score_tokens mediapipe/classifier_int8.tflite 101 1037 2143 2204 102
//
// It takes the files of export/mediapipe/ (their metadata is not read): rows of any length in, probabilities out. Those
// of export/tflite/ have the label as a string besides, for which this interface of LiteRT 2.3 allocates no buffer; in C++
// they run in tflite::Interpreter.
//
// $LITERT is the folder of libLiteRt.so, which is in the wheel of ai-edge-litert:
//   python -c "import ai_edge_litert, os; print(os.path.dirname(ai_edge_litert.__file__))"
// The wheel has no headers. What is used of them is declared here as ai-edge-litert 2.3.0 has it; with the LiteRT
// sources at hand, include "litert/c/*.h" of the same version instead.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct LiteRtEnvironmentT* LiteRtEnvironment;
typedef struct LiteRtModelT* LiteRtModel;
typedef struct LiteRtSignatureT* LiteRtSignature;
typedef struct LiteRtTensorT* LiteRtTensor;
typedef struct LiteRtOptionsT* LiteRtOptions;
typedef struct LiteRtCompiledModelT* LiteRtCompiledModel;
typedef struct LiteRtTensorBufferT* LiteRtTensorBuffer;
typedef struct LiteRtTensorBufferRequirementsT* LiteRtTensorBufferRequirements;
typedef size_t LiteRtParamIndex;
typedef int LiteRtStatus;

typedef struct {
  unsigned int rank : 7;
  bool has_strides : 1;
  int32_t dimensions[8];
  uint32_t strides[8];
} LiteRtLayout;
typedef struct {
  int element_type;
  LiteRtLayout layout;
} LiteRtRankedTensorType;

enum { kAcceleratorCpu = 1, kLockRead = 0, kLockWrite = 1, kFloat32 = 1, kInt32 = 2 };

LiteRtStatus LiteRtCreateEnvironment(int count, const void* options, LiteRtEnvironment* environment);
LiteRtStatus LiteRtCreateModelFromFile(LiteRtEnvironment environment, const char* path, LiteRtModel* model);
LiteRtStatus LiteRtGetModelSignature(LiteRtModel model, LiteRtParamIndex index, LiteRtSignature* signature);
LiteRtStatus LiteRtGetNumSignatureInputs(LiteRtSignature signature, LiteRtParamIndex* count);
LiteRtStatus LiteRtGetNumSignatureOutputs(LiteRtSignature signature, LiteRtParamIndex* count);
LiteRtStatus LiteRtGetSignatureInputName(LiteRtSignature signature, LiteRtParamIndex index, const char** name);
LiteRtStatus LiteRtGetSignatureOutputName(LiteRtSignature signature, LiteRtParamIndex index, const char** name);
LiteRtStatus LiteRtGetSignatureInputTensorByIndex(LiteRtSignature s, LiteRtParamIndex index, LiteRtTensor* tensor);
LiteRtStatus LiteRtGetSignatureOutputTensorByIndex(LiteRtSignature s, LiteRtParamIndex index, LiteRtTensor* tensor);
LiteRtStatus LiteRtGetRankedTensorType(LiteRtTensor tensor, LiteRtRankedTensorType* type);
LiteRtStatus LiteRtCreateOptions(LiteRtOptions* options);
LiteRtStatus LiteRtSetOptionsHardwareAccelerators(LiteRtOptions options, int accelerators);
LiteRtStatus LiteRtCreateCompiledModel(LiteRtEnvironment environment, LiteRtModel model, LiteRtOptions options,
                                       LiteRtCompiledModel* compiled);
LiteRtStatus LiteRtCompiledModelResizeInputTensor(LiteRtCompiledModel compiled, LiteRtParamIndex signature,
                                                  LiteRtParamIndex index, const int* sizes, size_t rank);
LiteRtStatus LiteRtGetCompiledModelInputBufferRequirements(LiteRtCompiledModel compiled, LiteRtParamIndex signature,
                                                           LiteRtParamIndex index,
                                                           LiteRtTensorBufferRequirements* requirements);
LiteRtStatus LiteRtGetCompiledModelOutputBufferRequirements(LiteRtCompiledModel compiled, LiteRtParamIndex signature,
                                                            LiteRtParamIndex index,
                                                            LiteRtTensorBufferRequirements* requirements);
LiteRtStatus LiteRtCreateManagedTensorBufferFromRequirements(LiteRtEnvironment environment,
                                                             const LiteRtRankedTensorType* type,
                                                             LiteRtTensorBufferRequirements requirements,
                                                             LiteRtTensorBuffer* buffer);
LiteRtStatus LiteRtLockTensorBuffer(LiteRtTensorBuffer buffer, void** memory, int mode);
LiteRtStatus LiteRtUnlockTensorBuffer(LiteRtTensorBuffer buffer);
LiteRtStatus LiteRtRunCompiledModel(LiteRtCompiledModel compiled, LiteRtParamIndex signature, size_t num_inputs,
                                    LiteRtTensorBuffer* inputs, size_t num_outputs, LiteRtTensorBuffer* outputs);
void LiteRtDestroyTensorBuffer(LiteRtTensorBuffer buffer);
void LiteRtDestroyCompiledModel(LiteRtCompiledModel compiled);
void LiteRtDestroyOptions(LiteRtOptions options);
void LiteRtDestroyModel(LiteRtModel model);
void LiteRtDestroyEnvironment(LiteRtEnvironment environment);

#define MAX_TENSORS 8

static void check(LiteRtStatus status, const char* what) {
  if (status != 0) {
    fprintf(stderr, "error: %s failed (status %d)\n", what, status);
    exit(1);
  }
}

static void fill_input(LiteRtTensorBuffer buffer, const char* name, int count, char** words) {
  void* memory = NULL;
  check(LiteRtLockTensorBuffer(buffer, &memory, kLockWrite), "locking an input");
  int32_t* values = memory;
  for (int i = 0; i < count; ++i) {
    // There is one segment, 0, and without padding the mask is 1 everywhere.
    values[i] = strcmp(name, "input_word_ids") == 0 ? atoi(words[i]) : strcmp(name, "input_mask") == 0;
  }
  check(LiteRtUnlockTensorBuffer(buffer), "unlocking an input");
}

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "error: give a .tflite file that takes token ids of any length, and the ids of one row\n");
    return 2;
  }
  LiteRtEnvironment environment = NULL;
  LiteRtModel model = NULL;
  LiteRtSignature signature = NULL;
  LiteRtOptions options = NULL;
  LiteRtCompiledModel compiled = NULL;
  check(LiteRtCreateEnvironment(0, NULL, &environment), "making the environment");
  check(LiteRtCreateModelFromFile(environment, argv[1], &model), "reading the model");
  check(LiteRtGetModelSignature(model, 0, &signature), "finding the signature");
  check(LiteRtCreateOptions(&options), "making the options");
  check(LiteRtSetOptionsHardwareAccelerators(options, kAcceleratorCpu), "choosing the CPU");
  check(LiteRtCreateCompiledModel(environment, model, options, &compiled), "compiling the model");

  LiteRtParamIndex num_inputs = 0, num_outputs = 0;
  check(LiteRtGetNumSignatureInputs(signature, &num_inputs), "counting the inputs");
  check(LiteRtGetNumSignatureOutputs(signature, &num_outputs), "counting the outputs");
  if (num_inputs > MAX_TENSORS || num_outputs > MAX_TENSORS) {
    fprintf(stderr, "error: the model has more inputs or outputs than this program has room for\n");
    return 1;
  }
  LiteRtTensorBuffer inputs[MAX_TENSORS], outputs[MAX_TENSORS];
  LiteRtRankedTensorType types[MAX_TENSORS];
  LiteRtTensorBufferRequirements requirements = NULL;
  LiteRtTensor tensor = NULL;
  const char* name = NULL;
  for (LiteRtParamIndex i = 0; i < num_inputs; ++i) {
    LiteRtRankedTensorType type;
    check(LiteRtGetSignatureInputName(signature, i, &name), "naming an input");
    check(LiteRtGetSignatureInputTensorByIndex(signature, i, &tensor), "finding an input");
    check(LiteRtGetRankedTensorType(tensor, &type), "typing an input");
    if (type.element_type != kInt32 || type.layout.rank != 2 || type.layout.dimensions[1] >= 0) {
      fprintf(stderr, "error: the input %s must be int32 of shape (1, any length)\n", name);
      return 1;
    }
    const int sizes[2] = {1, argc - 2};
    check(LiteRtCompiledModelResizeInputTensor(compiled, 0, i, sizes, 2), "resizing an input");
    type.layout.dimensions[0] = sizes[0];
    type.layout.dimensions[1] = sizes[1];
    check(LiteRtGetCompiledModelInputBufferRequirements(compiled, 0, i, &requirements), "sizing an input");
    check(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, requirements, &inputs[i]),
          "allocating an input");
    fill_input(inputs[i], name, argc - 2, argv + 2);
  }
  for (LiteRtParamIndex i = 0; i < num_outputs; ++i) {
    check(LiteRtGetSignatureOutputTensorByIndex(signature, i, &tensor), "finding an output");
    check(LiteRtGetRankedTensorType(tensor, &types[i]), "typing an output");
    if (types[i].element_type != kFloat32) {
      fprintf(stderr, "error: every output must be float32: give a file of export/mediapipe/\n");
      return 1;
    }
    check(LiteRtGetCompiledModelOutputBufferRequirements(compiled, 0, i, &requirements), "sizing an output");
    check(LiteRtCreateManagedTensorBufferFromRequirements(environment, &types[i], requirements, &outputs[i]),
          "allocating an output");
  }

  check(LiteRtRunCompiledModel(compiled, 0, num_inputs, inputs, num_outputs, outputs), "running the model");

  for (LiteRtParamIndex i = 0; i < num_outputs; ++i) {
    check(LiteRtGetSignatureOutputName(signature, i, &name), "naming an output");
    void* memory = NULL;
    check(LiteRtLockTensorBuffer(outputs[i], &memory, kLockRead), "locking an output");
    int count = 1;
    for (unsigned int axis = 0; axis < types[i].layout.rank; ++axis) count *= types[i].layout.dimensions[axis];
    printf("%s", name);
    for (int k = 0; k < count; ++k) printf(" %.7g", ((const float*)memory)[k]);
    printf("\n");
    check(LiteRtUnlockTensorBuffer(outputs[i]), "unlocking an output");
    LiteRtDestroyTensorBuffer(outputs[i]);
  }
  for (LiteRtParamIndex i = 0; i < num_inputs; ++i) LiteRtDestroyTensorBuffer(inputs[i]);
  LiteRtDestroyCompiledModel(compiled);
  LiteRtDestroyOptions(options);
  LiteRtDestroyModel(model);
  LiteRtDestroyEnvironment(environment);
  return 0;
}
