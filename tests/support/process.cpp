#include "support/process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <stdexcept>
#include <utility>

#include "base/files.h"

extern char** environ;

namespace gogrid::testing {
namespace {

constexpr Bytes kMaxErrors = 16 * kMiB;

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (std::string& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

std::vector<std::string> environment_with(const std::string& data) {
  std::vector<std::string> environment{"GOGRID_DATA=" + data};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!std::string_view(*variable).starts_with("GOGRID_DATA="))
      environment.emplace_back(*variable);
  }
  return environment;
}

}  // namespace

Process::Process(std::vector<std::string> words, const std::filesystem::path& data)
    : err_file_(data.string() + ".stderr") {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
  std::vector<std::string> environment = environment_with(data.string());
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err_file_.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const int failed = ::posix_spawn(&id_, words.front().c_str(), &actions, nullptr,
                                   pointers(words).data(), pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  out_ = ends[0];
  if (failed != 0) throw std::runtime_error("cannot start " + words.front());
}

Process::~Process() {
  if (id_ > 0) {
    ::kill(id_, SIGKILL);
    ::waitpid(id_, nullptr, 0);
  }
  ::close(out_);
  std::error_code ignored;
  std::filesystem::remove(err_file_, ignored);
}

void Process::signal(int number) const { ::kill(id_, number); }

std::string Process::read_line() {
  std::string line;
  for (char c = 0; ::read(out_, &c, 1) == 1 && c != '\n';) line += c;
  return line;
}

Outcome Process::finish() {
  Outcome outcome;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(out_, buffer, sizeof buffer)) > 0;)
    outcome.out.append(buffer, static_cast<std::size_t>(n));
  int status = 0;
  ::waitpid(id_, &status, 0);
  id_ = -1;
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  outcome.err = read_file(err_file_, kMaxErrors).value_or("");
  return outcome;
}

Outcome run_program(std::vector<std::string> words, const std::filesystem::path& data) {
  return Process(std::move(words), data).finish();
}

}  // namespace gogrid::testing
