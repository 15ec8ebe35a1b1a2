// Measures what a model's layers and its head cost on each device, for the planner.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "device/device.h"
#include "engine/calibration_cache.h"
#include "model/gguf_file.h"
#include "model/model_profile.h"
#include "model/slice_cache.h"
#include "placement/planner.h"
#include "resource/memory_ledger.h"
#include "stage/stage.h"

namespace gogrid {

// Told a line for each device: what was measured, taken from the cache, or left out and why.
using CalibrationNote = std::function<void(std::string_view)>;
// Called before each piece of work, and often while a slice is made: returns when it may begin, or
// false to give up.
using BeforeWork = std::function<bool()>;

struct Measurements {
  std::vector<DeviceBudget> budgets;  // one for each device that works, in order
  // Devices that had no memory for it, by id: another time they may.
  std::map<std::string, Error> unmeasured;
};

// Runs two or three small slices of the model on
// each, one device after the other (about two seconds each), on threads of its own; a model that
// cannot be cut is run as a whole where it fits. Results are kept in `cache_folder`, by model,
// device and library version, unless the device was busy with something else meanwhile; a result
// that cannot be kept is only a note.
//
// A device too small for the larger slices, ever, is measured with what it holds; the cost of a
// head that it cannot hold is guessed from that of its layers.
//
// A device whose stages cannot be made is left out with a note; the error of the first when none is
// left, nor any that only lacked memory. kCancelled when `before_work` gave up. A renderer in
// software that nobody named is not measured beside other devices.
//
// `digest`: SHA-256 of the file. `clock` measures. `ledger` (may be null: nobody counts) is asked
// for the largest slice before any is made, and before each is loaded. `before_work` is not called
// where all was measured before.
Result<Measurements> calibrate(
    const GgufFile& file, const ModelProfile& profile, std::string_view digest,
    std::span<const Device> devices, StageFactory& factory, SliceCache& slices,
    const std::filesystem::path& cache_folder, const Clock& clock, const CalibrationNote& note,
    MemoryLedger* ledger = nullptr, const BeforeWork& before_work = [] { return true; });

// The speeds kept in `cache_folder` that hold for the libraries of this program.
CalibrationCache calibration_cache(const std::filesystem::path& cache_folder);

// A renderer in software that nobody named: planned on only where there is nothing else.
bool is_last_resort(const Device& device);

// What may be planned on each device: its budget, at most what is free. CPU devices without a
// budget share what is free evenly; unknown memory is no bound.
std::vector<Bytes> plannable_memory(std::span<const Device> devices);
// The same were all of each device's memory free.
std::vector<Bytes> whole_memory(std::span<const Device> devices);

}  // namespace gogrid
