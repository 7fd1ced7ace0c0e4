/* Scores texts with an exported SavedModel through the C library of TensorFlow: no Python, no server.

   score [-s SIGNATURE] [-l OPERATORS.so]... VERSION_FOLDER TEXT...

   -l names a library of operators of TF Text, in which the tokenizer of the model is: _fast_bert_normalizer.so,
   _fast_wordpiece_tokenizer.so and _byte_splitter.so, in tensorflow_text/python/ops of its wheel. The signature, by default
   serving_default, must take one vector of strings. A line of JSON is printed for each text. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

#define MOST_OUTPUTS 16

static void fail(const char* what, const char* why) {
  fprintf(stderr, "error: %s: %s\n", what, why);
  exit(1);
}

static void check(TF_Status* status, const char* what) {
  if (TF_GetCode(status) != TF_OK) fail(what, TF_Message(status));
}

/* --- The signature, read from the serialised MetaGraphDef. Only fields that hold bytes matter here. --- */

typedef struct {
  const unsigned char* at;
  const unsigned char* end;
} Bytes;

typedef struct {
  Bytes key;    /* name in the signature, such as "text" */
  Bytes tensor; /* name in the graph, such as "serving_default_text:0" */
} Named;

typedef struct {
  Named inputs[MOST_OUTPUTS], outputs[MOST_OUTPUTS];
  int num_inputs, num_outputs;
} Signature;

static uint64_t read_varint(Bytes* in) {
  uint64_t value = 0;
  for (int shift = 0; in->at < in->end && shift < 64; shift += 7) {
    unsigned char byte = *in->at++;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return value;
  }
  fail("saved_model.pb", "damaged");
  return 0;
}

/* Moves to the next field that holds bytes; returns its number, or 0 at the end. */
static int next_field(Bytes* in, Bytes* content) {
  while (in->at < in->end) {
    uint64_t tag = read_varint(in);
    size_t size = 0;
    switch (tag & 7) {
      case 0: read_varint(in); continue;
      case 1: size = 8; break;
      case 2: size = read_varint(in); break;
      case 5: size = 4; break;
      default: fail("saved_model.pb", "damaged");
    }
    if (size > (size_t)(in->end - in->at)) fail("saved_model.pb", "damaged");
    content->at = in->at;
    content->end = in->at += size;
    if ((tag & 7) == 2) return (int)(tag >> 3);
  }
  return 0;
}

static int equal(Bytes bytes, const char* text) {
  size_t size = bytes.end - bytes.at;
  return size == strlen(text) && memcmp(bytes.at, text, size) == 0;
}

/* An entry of a map from name to TensorInfo. */
static Named read_tensor(Bytes entry) {
  Named named = {{NULL, NULL}, {NULL, NULL}};
  Bytes field, inner;
  int number;
  while ((number = next_field(&entry, &field))) {
    if (number == 1) named.key = field;
    if (number == 2)
      while ((number = next_field(&field, &inner)))
        if (number == 1) named.tensor = inner;
  }
  return named;
}

static Signature read_signature(Bytes meta_graph, const char* wanted) {
  enum { SIGNATURE_DEF = 5, KEY = 1, VALUE = 2, INPUTS = 1, OUTPUTS = 2 };
  Bytes field, part, value, entry;
  int number;
  while ((number = next_field(&meta_graph, &field))) {
    int found = 0;
    value.at = value.end = NULL;
    if (number != SIGNATURE_DEF) continue;
    while ((number = next_field(&field, &part))) {
      if (number == KEY) found = equal(part, wanted);
      if (number == VALUE) value = part;
    }
    if (!found) continue;
    Signature signature = {.num_inputs = 0, .num_outputs = 0};
    while ((number = next_field(&value, &entry))) {
      if (number == INPUTS && signature.num_inputs < MOST_OUTPUTS)
        signature.inputs[signature.num_inputs++] = read_tensor(entry);
      if (number == OUTPUTS && signature.num_outputs < MOST_OUTPUTS)
        signature.outputs[signature.num_outputs++] = read_tensor(entry);
    }
    return signature;
  }
  fail("the model has no such signature", wanted);
  return (Signature){.num_inputs = 0};
}

/* "name:0" in the graph. */
static TF_Output find(TF_Graph* graph, Bytes tensor) {
  char name[1024];
  size_t size = tensor.end - tensor.at;
  if (size >= sizeof name) fail("saved_model.pb", "a name is too long");
  memcpy(name, tensor.at, size);
  name[size] = 0;
  char* colon = strrchr(name, ':');
  TF_Output output = {NULL, colon ? atoi(colon + 1) : 0};
  if (colon) *colon = 0;
  output.oper = TF_GraphOperationByName(graph, name);
  if (!output.oper) fail("the graph has no operation", name);
  return output;
}

/* --- Tensors --- */

static TF_Tensor* string_tensor(char** texts, int64_t count) {
  TF_Tensor* tensor = TF_AllocateTensor(TF_STRING, &count, 1, count * sizeof(TF_TString));
  TF_TString* values = TF_TensorData(tensor);
  for (int64_t i = 0; i < count; ++i) {
    TF_StringInit(&values[i]);
    TF_StringCopy(&values[i], texts[i], strlen(texts[i]));
  }
  return tensor;
}

static void print_string(const char* text, size_t size) {
  putchar('"');
  for (size_t i = 0; i < size; ++i) {
    unsigned char byte = text[i];
    if (byte == '"' || byte == '\\') printf("\\%c", byte);
    else if (byte < 0x20) printf("\\u%04x", byte);
    else putchar(byte);
  }
  putchar('"');
}

static void print_value(const TF_Tensor* tensor, int64_t index) {
  const void* data = TF_TensorData(tensor);
  switch (TF_TensorType(tensor)) {
    case TF_FLOAT: printf("%.9g", ((const float*)data)[index]); break;
    case TF_INT32: printf("%" PRId32, ((const int32_t*)data)[index]); break;
    case TF_INT64: printf("%" PRId64, ((const int64_t*)data)[index]); break;
    case TF_STRING: {
      const TF_TString* value = (const TF_TString*)data + index;
      print_string(TF_StringGetDataPointer(value), TF_StringGetSize(value));
      break;
    }
    default: fail("an output has a type that is not printed", "see print_value");
  }
}

/* The values of one text; the first dimension of every output is the batch. */
static void print_row(const TF_Tensor* tensor, int64_t row) {
  int64_t width = 1;
  for (int i = 1; i < TF_NumDims(tensor); ++i) width *= TF_Dim(tensor, i);
  if (TF_NumDims(tensor) == 1) {
    print_value(tensor, row);
    return;
  }
  putchar('[');
  for (int64_t i = 0; i < width; ++i) {
    if (i) printf(", ");
    print_value(tensor, row * width + i);
  }
  putchar(']');
}

int main(int count, char** arguments) {
  const char* name = "serving_default";
  TF_Status* status = TF_NewStatus();
  for (int option; (option = getopt(count, arguments, "s:l:")) != -1;) {
    if (option == 's') {
      name = optarg;
    } else if (option == 'l') {
      TF_Library* library = TF_LoadLibrary(optarg, status);
      check(status, optarg);
      TF_DeleteLibraryHandle(library);
    } else {
      return 2;
    }
  }
  if (count - optind < 2) {
    fprintf(stderr, "usage: %s [-s SIGNATURE] [-l OPERATORS.so]... VERSION_FOLDER TEXT...\n", arguments[0]);
    return 2;
  }
  const char* folder = arguments[optind];
  char** texts = arguments + optind + 1;
  int num_texts = count - optind - 1;

  const char* tags[] = {"serve"};
  TF_Graph* graph = TF_NewGraph();
  TF_Buffer* meta_graph = TF_NewBuffer();
  TF_SessionOptions* options = TF_NewSessionOptions();
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, folder, tags, 1, graph, meta_graph, status);
  check(status, folder);

  Bytes bytes = {meta_graph->data, (const unsigned char*)meta_graph->data + meta_graph->length};
  Signature signature = read_signature(bytes, name);
  if (signature.num_inputs != 1 || !equal(signature.inputs[0].key, "text"))
    fail("the signature must take texts, under the name text", name);
  TF_Output input = find(graph, signature.inputs[0].tensor);
  TF_Output outputs[MOST_OUTPUTS];
  TF_Tensor* values[MOST_OUTPUTS] = {NULL};
  for (int i = 0; i < signature.num_outputs; ++i) outputs[i] = find(graph, signature.outputs[i].tensor);

  TF_Tensor* tensor = string_tensor(texts, num_texts);
  TF_SessionRun(session, NULL, &input, &tensor, 1, outputs, values, signature.num_outputs, NULL, 0, NULL, status);
  check(status, "the model failed");

  for (int row = 0; row < num_texts; ++row) {
    printf("{\"text\": ");
    print_string(texts[row], strlen(texts[row]));
    for (int i = 0; i < signature.num_outputs; ++i) {
      Bytes key = signature.outputs[i].key;
      printf(", \"%.*s\": ", (int)(key.end - key.at), (const char*)key.at);
      print_row(values[i], row);
    }
    printf("}\n");
  }

  for (int i = 0; i < signature.num_outputs; ++i) TF_DeleteTensor(values[i]);
  TF_DeleteTensor(tensor);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteBuffer(meta_graph);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
