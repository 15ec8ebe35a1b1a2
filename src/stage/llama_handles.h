// libllama's objects, owned.
#pragma once

#include <memory>

struct llama_model;
struct llama_context;

namespace gogrid {

struct FreeModel {
  void operator()(llama_model* model) const;
};
struct FreeContext {
  void operator()(llama_context* context) const;
};
using ModelHandle = std::unique_ptr<llama_model, FreeModel>;
using ContextHandle = std::unique_ptr<llama_context, FreeContext>;

}  // namespace gogrid
