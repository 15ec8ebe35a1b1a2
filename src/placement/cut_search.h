// Finds where to cut a model and which device takes which part: exact for the cost model, by
// dynamic programming over sets of devices and cut positions.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "placement/cost_model.h"

namespace gogrid {

// Stages have the types that the question forces, and, where it allows them, smaller ones:
// fastest() looks at plans without those, least_loss() and shortfall() at all.
//
// Immutable after construction; refers to the profile, devices and question it was made of.
class CutSearch {
 public:
  static constexpr std::size_t kMaxDevices = 8;

  // `devices`: at most kMaxDevices.
  CutSearch(const ModelProfile& profile, std::span<const DeviceBudget> devices,
            const PlanQuestion& question);

  // The stages with the most decode tokens/s for `groups` in flight; each device at most once.
  // Empty when nothing fits.
  std::optional<std::vector<PlacedRange>> fastest(std::uint32_t groups) const;
  // The same among plans of one stage.
  std::optional<std::vector<PlacedRange>> fastest_alone() const;
  // The stages that lose least, by SmallerLayers::cost and the share of the weights; of equal ones
  // the shortest way of one step. Empty when nothing fits.
  std::optional<std::vector<PlacedRange>> least_loss() const;
  // The least memory, summed over the devices, that would have to be added for anything to fit.
  Bytes shortfall() const;
  bool fits() const { return shortfall() == 0; }

  // Fewer cuts were considered than the model allows, because the search would take too long.
  bool coarse() const { return coarse_; }

 private:
  struct Cell;  // of the table: best way to have the first layers on a set of devices
  // The model in one type, or as it is.
  struct Form {
    const SmallerLayers* as = nullptr;
    double cost = 0.0;          // were all of it in this type
    std::vector<Bytes> memory;  // [from][to] over positions
  };
  template <class Cost>
  std::vector<PlacedRange> search(std::size_t devices_at_most, const Cost& cost,
                                  double& total) const;
  void add_form(const ModelProfile& profile, const SmallerLayers* as, double cost);
  void choose_forms();
  double share_of(std::size_t from, std::size_t to) const;
  Bytes memory_of(const Form& form, std::size_t from, std::size_t to) const;
  // Without types that are only allowed.
  const Form& plain_form(std::size_t device) const { return forms_[choices_[device].front()]; }
  // The one that loses least of those that the device holds; null: it holds none.
  const Form* form_for(std::size_t device, std::size_t from, std::size_t to) const;
  std::vector<double> step_times(double rows) const;

  const ModelProfile& profile_;
  const std::span<const DeviceBudget> devices_;
  const PlanQuestion& question_;
  bool coarse_ = false;
  std::vector<std::uint32_t> positions_;           // 0, the cuts, the number of layers
  std::vector<Form> forms_;                        // the first: as it is
  std::vector<std::vector<std::size_t>> choices_;  // of each device, into `forms_`, best first
};

}  // namespace gogrid
