#include "resource/host_power.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "resource/fake_root.h"

namespace gogrid {
namespace {

using testing::FakeRoot;
using ::testing::HasSubstr;

PowerSupply line(bool online) {
  return {.type = "Mains", .scope = "", .status = "", .online = online, .percent = {}};
}
PowerSupply battery(std::string status, std::optional<std::uint64_t> percent = 50) {
  return {.type = "Battery",
          .scope = "",
          .status = std::move(status),
          .online = {},
          .percent = percent};
}
Reading<Power> judged(std::vector<PowerSupply> supplies) { return judge_power(supplies); }

TEST(Power, OfAMachineWithoutBatteriesIsMains) {
  EXPECT_EQ(judged({}), Power{});
  EXPECT_EQ(judged({line(true)}), Power{});
}

TEST(Power, IsTheBatteryWhenNoLineIsOnlineAndItDischarges) {
  EXPECT_EQ(judged({line(false), battery("Discharging", 83)}),
            (Power{.on_battery = true, .charge = Share::of(0.83)}));
  EXPECT_EQ(judged({battery("Discharging", 0)}), (Power{.on_battery = true, .charge = Share()}));
}

TEST(Power, IsTheLineWhileItIsOnlineWhateverTheBatterySays) {
  EXPECT_FALSE(judged({line(true), battery("Discharging")})->on_battery);
  EXPECT_FALSE(judged({line(false), line(true), battery("Discharging")})->on_battery);
  auto usb = line(true);
  usb.type = "USB";
  EXPECT_FALSE(judged({usb, battery("Discharging")})->on_battery);
}

TEST(Power, IsTheLineWhileTheBatteryDoesNotDischarge) {
  for (const char* status : {"Charging", "Full", "Not charging"}) {
    EXPECT_FALSE(judged({line(false), battery(status)})->on_battery) << status;
  }
}

TEST(Power, OfABatteryThatSaysNothingIsToldByTheLine) {
  EXPECT_TRUE(judged({line(false), battery("Unknown")})->on_battery);
  EXPECT_FALSE(judged({line(true), battery("Unknown")})->on_battery);
  EXPECT_THAT(judged({battery("Unknown")}).error(), HasSubstr("none does"));
  EXPECT_FALSE(judged({battery("\xff")}).has_value());
}

TEST(Power, IsNotThatOfAMouse) {
  auto mouse = battery("Discharging", 3);
  mouse.scope = "Device";
  EXPECT_EQ(judged({mouse}), Power{});
  auto cable_of_mouse = line(true);
  cable_of_mouse.scope = "Device";
  EXPECT_TRUE(judged({mouse, cable_of_mouse, battery("Discharging")})->on_battery);
}

TEST(Power, ChargeIsTheMeanOfTheBatteriesThatTellOne) {
  EXPECT_EQ(judged({battery("Full", 100), battery("Discharging", 45)})->charge, Share::of(0.725));
  EXPECT_EQ(judged({battery("Full", 100), battery("Full", 101)})->charge, Share::of(1.0));
  EXPECT_EQ(judged({battery("Full", std::nullopt)})->charge, std::nullopt);
}

TEST(Power, IsReadFromSysfs) {
  const FakeRoot root;
  const std::string folder = "sys/class/power_supply/";
  EXPECT_THAT(read_power(root.path()).error(), HasSubstr("[load] power: cannot list"));
  root.put(folder + "AC/type", "Mains\n");
  root.put(folder + "AC/online", "0\n");
  root.put(folder + "BAT0/type", "Battery\n");
  root.put(folder + "BAT0/status", "Discharging\n");
  root.put(folder + "BAT0/capacity", "61\n");
  root.put(folder + "broken/type", std::string(5000, '\xff'));
  EXPECT_EQ(read_power(root.path()), (Power{.on_battery = true, .charge = Share::of(0.61)}));
  root.put(folder + "AC/online", "1\n");
  EXPECT_EQ(read_power(root.path())->on_battery, false);
  root.put(folder + "AC/online", "yes\n");
  root.put(folder + "BAT0/capacity", "-1\n");
  EXPECT_EQ(read_power(root.path()), (Power{.on_battery = true, .charge = std::nullopt}));
}

ThermalZone zone(std::string name, Millidegrees now, std::vector<TripPoint> trips) {
  return {.name = std::move(name), .now = now, .trips = std::move(trips)};
}
Reading<Heat> felt(std::vector<ThermalZone> zones) { return judge_heat(zones); }

TEST(Heat, IsOfTheZoneNearestToItsOwnLimit) {
  const auto heat = felt({zone("hot but far", 80'000, {{"passive", 105'000}}),
                          zone("cool but near", 55'000, {{"passive", 60'000}}),
                          zone("cold", 20'000, {{"passive", 60'000}})});
  EXPECT_EQ(heat, (Heat{"cool but near", 55'000, 60'000, false}));
}

TEST(Heat, ThrottlesAtTheLimit) {
  EXPECT_FALSE(felt({zone("a", 94'999, {{"passive", 95'000}})})->throttled);
  EXPECT_TRUE(felt({zone("a", 95'000, {{"passive", 95'000}})})->throttled);
}

TEST(Heat, LimitIsWhereTheKernelSlowsDownElseWhereItSwitchesOff) {
  EXPECT_EQ(felt({zone("a", 1, {{"critical", 110}, {"hot", 100}, {"passive", 95}, {"active", 5}})})
                ->limit,
            95);
  EXPECT_EQ(felt({zone("a", 1, {{"critical", 110}, {"hot", 90}, {"passive", 95}})})->limit, 90);
  EXPECT_EQ(felt({zone("a", 1, {{"passive", 97}, {"passive", 95}})})->limit, 95);
  EXPECT_EQ(felt({zone("a", 1, {{"critical", 110}, {"active", 5}})})->limit, 110);
}

TEST(Heat, LeavesOutSensorsThatAreOffAndTripPointsThatAreNotSet) {
  for (const ThermalZone& useless :
       {zone("off", -274'000, {{"passive", 95'000}}), zone("mad", 9'999'999, {{"passive", 95'000}}),
        zone("unset", 50'000, {{"passive", 0}, {"critical", -1}}), zone("fan", 1, {{"active", 5}}),
        zone("odd", 1, {{"critical", 9'999'999}}), zone("none", 1, {})}) {
    EXPECT_THAT(felt({useless}).error(), HasSubstr("no thermal zone")) << useless.name;
  }
  EXPECT_FALSE(felt({}).has_value());
}

TEST(Heat, IsReadFromSysfs) {
  const FakeRoot root;
  const std::string folder = "sys/class/thermal/";
  EXPECT_THAT(read_heat(root.path()).error(), HasSubstr("[load] heat: cannot list"));
  root.put(folder + "cooling_device0/type", "Processor\n");
  EXPECT_FALSE(read_heat(root.path()).has_value());
  root.put(folder + "thermal_zone0/type", "x86_pkg_temp\n");
  root.put(folder + "thermal_zone0/temp", "96000\n");
  root.put(folder + "thermal_zone0/trip_point_0_type", "critical\n");
  root.put(folder + "thermal_zone0/trip_point_0_temp", "105000\n");
  root.put(folder + "thermal_zone0/trip_point_1_type", "passive\n");
  root.put(folder + "thermal_zone0/trip_point_1_temp", "95000\n");
  root.put(folder + "thermal_zone1/type", "asleep\n");  // answers no temperature
  root.put(folder + "thermal_zone2/temp", "hot\n");
  EXPECT_EQ(read_heat(root.path()), (Heat{"x86_pkg_temp", 96'000, 95'000, true}));
}

}  // namespace
}  // namespace gogrid
