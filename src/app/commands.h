// What each command does. Results go to stdout, the rest to stderr; the error decides the exit
// status.
#pragma once

#include "base/result.h"
#include "cli/options.h"

namespace gogrid {

Status serve_command(const ServeCommand& command, const CommonOptions& common);
Status run_command(const RunCommand& command, const CommonOptions& common);
Status plan_command(const PlanCommand& command, const CommonOptions& common);
Status bench_command(const BenchCommand& command, const CommonOptions& common);
Status devices_command(const DevicesCommand& command, const CommonOptions& common);
Status doctor_command(const DoctorCommand& command, const CommonOptions& common);
Status models_command(const ModelsCommand& command, const CommonOptions& common);
Status loss_command(const LossCommand& command, const CommonOptions& common);
Status imatrix_command(const ImatrixCommand& command, const CommonOptions& common);
Status quantize_command(const QuantizeCommand& command, const CommonOptions& common);

}  // namespace gogrid
