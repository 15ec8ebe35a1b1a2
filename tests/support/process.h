// Runs a program as a person or a script does.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace gogrid::testing {

// How a run ended, and what it wrote.
struct Outcome {
  int status = -1;  // exit status; -N: ended by signal N
  std::string out;
  std::string err;
};

// A running program. Not thread-safe. The destructor kills what still runs.
class Process {
 public:
  // `words`: the program's path, and its arguments. Standard input is empty; GOGRID_DATA is `data`,
  // the rest of the environment the test's.
  Process(std::vector<std::string> words, const std::filesystem::path& data);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t id() const { return id_; }
  void signal(int number) const;
  // The next line of its standard output, without the line feed; empty at its end.
  std::string read_line();
  // Waits for its end.
  Outcome finish();

 private:
  pid_t id_ = -1;
  int out_ = -1;
  std::filesystem::path err_file_;
};

// The whole of a run.
Outcome run_program(std::vector<std::string> words, const std::filesystem::path& data);

}  // namespace gogrid::testing
