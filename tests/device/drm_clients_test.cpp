#include "device/drm_clients.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/gpu_machine.h"

namespace gogrid {
namespace {

using gogrid::testing::GpuMachine;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr unsigned kOwn = 4711;
const std::string kAddress = "0000:03:00.0";

TEST(DrmClients, AreFoundAmongTheFilesOfEveryProcess) {
  GpuMachine machine;
  machine.open_gpu(kOwn, 7, "amdgpu", kAddress, 1, "");
  machine.open_gpu(500, 3, "amdgpu", kAddress, 2, "drm-engine-gfx: 9 ns\n");
  machine.open_file(500, 4, "/dev/null", "drm-driver: amdgpu\ndrm-client-id: 9\n");
  const DrmScan scan = scan_drm_clients(machine.root(), kOwn);
  ASSERT_THAT(scan.users, SizeIs(2));
  for (const DrmUser& user : scan.users) EXPECT_EQ(user.own, user.client.id == 1);
  EXPECT_TRUE(scan.complete());
}

TEST(DrmClients, AreCountedOnceWhoeverSharesThem) {
  GpuMachine machine;
  machine.open_gpu(500, 3, "amdgpu", kAddress, 2, "");
  machine.open_gpu(500, 4, "amdgpu", kAddress, 2, "");
  machine.open_gpu(501, 3, "amdgpu", kAddress, 2, "");
  machine.open_gpu(501, 4, "amdgpu", "0000:04:00.0", 2, "");
  EXPECT_THAT(scan_drm_clients(machine.root(), kOwn).users, SizeIs(2)) << "one for each GPU";
}

TEST(DrmClients, ThatAreSharedWithUsAreOurs) {
  GpuMachine machine;
  machine.open_gpu(1000, 3, "amdgpu", kAddress, 2, "");
  machine.open_gpu(kOwn, 3, "amdgpu", kAddress, 2, "");
  machine.open_gpu(9000, 3, "amdgpu", kAddress, 2, "");
  const DrmScan scan = scan_drm_clients(machine.root(), kOwn);
  ASSERT_THAT(scan.users, SizeIs(1));
  EXPECT_TRUE(scan.users[0].own);
}

TEST(DrmClients, OfProcessesThatMayNotBeLookedIntoAreMissed) {
  GpuMachine machine;
  machine.add_hidden_process(20, "S 1 1 1 0 -1 4194304");
  EXPECT_EQ(scan_drm_clients(machine.root(), kOwn).hidden, 1U);
  EXPECT_FALSE(scan_drm_clients(machine.root(), kOwn).complete());
}

TEST(DrmClients, OfKernelThreadsAndTheDeadAreNotMissed) {
  GpuMachine machine;
  machine.add_hidden_process(20, "I 2 0 0 0 -1 69238880");  // 0x4208060, PF_KTHREAD among it
  machine.add_hidden_process(21, "Z 1 1 1 0 -1 4194304");
  EXPECT_TRUE(scan_drm_clients(machine.root(), kOwn).complete());
}

TEST(DrmClients, OfAProcessThatEndedInBetweenAreNotMissed) {
  GpuMachine machine;
  machine.put("proc/30/comm", "gone\n");  // neither files nor stat any more
  EXPECT_TRUE(scan_drm_clients(machine.root(), kOwn).complete());
}

TEST(DrmClients, AreNotAllWhereProcIsHiddenOrAContainers) {
  GpuMachine machine;
  machine.remove("proc/1");
  EXPECT_FALSE(scan_drm_clients(machine.root(), kOwn).complete());
  GpuMachine container;
  container.link("proc/self/ns/pid", "pid:[4026532281]");
  EXPECT_FALSE(scan_drm_clients(container.root(), kOwn).complete());
}

TEST(DrmClients, OfNoProcAtAllAreNotKnown) {
  const gogrid::testing::TemporaryFolder empty;
  const DrmScan scan = scan_drm_clients(empty.path(), kOwn);
  EXPECT_THAT(scan.users, IsEmpty());
  EXPECT_EQ(scan.hidden, 1U);
  EXPECT_FALSE(scan.complete());
}

TEST(DrmClients, WithAMonstrousOrStrangeFileAreMissedWithoutHarm) {
  GpuMachine machine;
  machine.open_gpu(500, 3, "amdgpu", kAddress, 1, std::string(1 << 20, 'x'));
  machine.open_gpu(501, 3, "amdgpu", kAddress, 2, "");
  machine.open_gpu(502, 3, "amdgpu", kAddress, 3, "");
  // A pipe in its place would make a reader wait.
  machine.remove("proc/502/fdinfo/3");
  ASSERT_EQ(::mkfifo((machine.root() / "proc/502/fdinfo/3").c_str(), 0600), 0);
  const DrmScan scan = scan_drm_clients(machine.root(), kOwn);
  EXPECT_THAT(scan.users, SizeIs(1));
  EXPECT_EQ(scan.hidden, 2U);
}

TEST(DrmClients, WhoUseAmdsComputeDriverAreNamed) {
  GpuMachine machine;
  machine.open_file(500, 3, "/dev/kfd", "pos: 0\n");
  EXPECT_TRUE(scan_drm_clients(machine.root(), kOwn).others_use_kfd);
  EXPECT_FALSE(scan_drm_clients(machine.root(), kOwn).own_uses_kfd);
  EXPECT_TRUE(scan_drm_clients(machine.root(), 500).own_uses_kfd);
}

TEST(DrmClients, OfThisMachineCanBeLookedFor) {
  const DrmScan scan = scan_drm_clients("/", static_cast<unsigned>(::getpid()));
  for (const DrmUser& user : scan.users) EXPECT_FALSE(user.own) << "a test opens no GPU";
}

}  // namespace
}  // namespace gogrid
