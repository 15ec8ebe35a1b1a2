// What other GoGrids, and people, are told of the models in the library. For .cpp files of http/
// only.
#pragma once

#include <drogon/HttpRequest.h>
#include <drogon/HttpResponse.h>

#include <string>

#include "model/model_library.h"

namespace gogrid {

std::string library_entry_json(const ModelEntry& entry);

// The model's file, or the part of it that Range asks for; its ETag is the digest. Sent from the
// file as the client reads, in the kernel: takes no memory.
drogon::HttpResponsePtr library_file(const ModelEntry& entry, const drogon::HttpRequest& request,
                                     const std::string& request_id);

}  // namespace gogrid
