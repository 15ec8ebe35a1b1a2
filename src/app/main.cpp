#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <type_traits>
#include <variant>

#include "app/commands.h"
#include "app/terminal.h"
#include "cli/options.h"
#include "obs/log.h"

namespace {

using namespace gogrid;

// ggml computes in OpenMP teams whose barriers spin. Beside somebody else's busy process a spinning
// barrier costs tenfold; a short spin, then sleeping, costs nothing measurable when the machine is
// idle (bench/README.md). libgomp reads this when it is loaded, before main: so the program sets it
// and starts itself once more.
constexpr const char* kSpinVariable = "GOMP_SPINCOUNT";
constexpr const char* kSpinCount = "10000";

void restart_with_short_spin(char** argv) {
  if (std::getenv(kSpinVariable) != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread runs yet
  if (::setenv(kSpinVariable, kSpinCount, 1) != 0) return;
  ::execv("/proc/self/exe", argv);
  // Without /proc the program still works, only slower beside other load.
  std::fprintf(stderr, "gogrid: cannot restart with %s=%s (errno %d): goes on without\n",
               kSpinVariable, kSpinCount, errno);
}

Status dispatch(const CommandLine& line) {
  return std::visit(
      [&](const auto& command) -> Status {
        using Command = std::decay_t<decltype(command)>;
        if constexpr (std::is_same_v<Command, PrintCommand>) {
          std::fputs(command.text.c_str(), stdout);
          return {};
        } else if constexpr (std::is_same_v<Command, CompletionCommand>) {
          std::fputs(bash_completion().c_str(), stdout);
          return {};
        } else if constexpr (std::is_same_v<Command, ServeCommand>) {
          return serve_command(command, line.common);
        } else if constexpr (std::is_same_v<Command, RunCommand>) {
          return run_command(command, line.common);
        } else if constexpr (std::is_same_v<Command, PlanCommand>) {
          return plan_command(command, line.common);
        } else if constexpr (std::is_same_v<Command, BenchCommand>) {
          return bench_command(command, line.common);
        } else if constexpr (std::is_same_v<Command, DevicesCommand>) {
          return devices_command(command, line.common);
        } else if constexpr (std::is_same_v<Command, DoctorCommand>) {
          return doctor_command(command, line.common);
        } else if constexpr (std::is_same_v<Command, ImatrixCommand>) {
          return imatrix_command(command, line.common);
        } else if constexpr (std::is_same_v<Command, QuantizeCommand>) {
          return quantize_command(command, line.common);
        } else {
          return models_command(command, line.common);
        }
      },
      line.command);
}

Status run(int argc, char** argv) {
  GOGRID_ASSIGN_OR_RETURN(const CommandLine line, parse_command_line(argc, argv));
  GOGRID_ASSIGN_OR_RETURN(const log::Level level, log::parse_level(line.common.log_level));
  log::configure(level, line.common.json_log ? log::Format::kJson : log::Format::kText);
  return dispatch(line);
}

}  // namespace

int main(int argc, char** argv) {
  restart_with_short_spin(argv);
  try {
    const Status status = run(argc, argv);
    if (std::fflush(stdout) != 0) return 1;
    if (status) return 0;
    complain(status.error().message);
    return traits(status.error().code).exit_status;
  } catch (const std::exception& error) {
    complain(std::string("internal error: ") + error.what());
    return 1;
  }
}
