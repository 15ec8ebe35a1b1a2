// What other GoGrids, and people, are told of the models in the library. For .cpp files of http/
// only.
#pragma once

#include <memory>
#include <string>

#include "http/client_link.h"
#include "http/exchange.h"
#include "http/file_stream.h"
#include "model/model_library.h"

namespace gogrid {

std::string library_entry_json(const ModelEntry& entry);

// Answers with the model's file, or the part of it that Range asks for; its ETag is the digest.
void send_library_file(const ModelEntry& entry, const Exchange& exchange, ClientLink link,
                       const std::shared_ptr<FileReaders>& readers);

}  // namespace gogrid
