#include "resource/quiet_hours.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <sstream>
#include <string>

#include "base/format.h"

namespace gogrid {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::sys_seconds;
using ::testing::ElementsAre;

constexpr std::chrono::seconds kSecond(1);

// "2026-03-29 00:59:59", in UTC.
sys_seconds utc(const std::string& text) {
  std::istringstream in(text);
  sys_seconds result;
  in >> std::chrono::parse("%F %T", result);
  EXPECT_FALSE(in.fail()) << text;
  return result;
}

ScheduleEntry entry(std::vector<std::string> days, std::string from, std::string to,
                    std::string mode = "off") {
  return {std::move(days), std::move(from), std::move(to), std::move(mode)};
}

// A schedule in a zone, asked with what its clocks show.
class Schedule {
 public:
  Schedule(std::string_view zone, const std::vector<ScheduleEntry>& entries)
      : zone_(std::chrono::locate_zone(zone)), hours_(QuietHours::of(entries).value()) {}

  ScheduleState at(sys_seconds moment) const { return hours_.at(moment, *zone_); }
  std::optional<std::size_t> entry_at(const std::string& moment) const {
    return at(utc(moment)).entry;
  }
  bool off(const std::string& moment) const { return at(utc(moment)).mode == ScheduledMode::kOff; }
  // When the mode changes next, in UTC.
  std::string until(const std::string& moment) const {
    const auto state = at(utc(moment));
    return state.until ? format_text("{:%F %T}", *state.until) : "never";
  }

 private:
  const std::chrono::time_zone* zone_;
  QuietHours hours_;
};

std::vector<std::string> faults_of(const std::vector<ScheduleEntry>& entries) {
  std::vector<std::string> messages;
  const auto result = QuietHours::of(entries);
  if (!result)
    for (const ScheduleFault& fault : result.error()) messages.push_back(fault.message());
  return messages;
}

TEST(QuietHours, WithoutEntriesNothingIsInForceAndNothingComes) {
  const QuietHours none;
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.at(utc("2026-06-01 12:00:00"), *std::chrono::locate_zone("UTC")), ScheduleState());
}

TEST(QuietHours, AWindowHoldsItsFirstSecondAndNotItsLast) {
  const Schedule lunch("UTC", {entry({"daily"}, "12:00", "13:00", "conservative")});
  EXPECT_EQ(lunch.entry_at("2026-06-01 11:59:59"), std::nullopt);
  EXPECT_EQ(lunch.entry_at("2026-06-01 12:00:00"), 0U);
  EXPECT_EQ(lunch.entry_at("2026-06-01 12:59:59"), 0U);
  EXPECT_EQ(lunch.entry_at("2026-06-01 13:00:00"), std::nullopt);
  EXPECT_EQ(lunch.at(utc("2026-06-01 12:30:00")).mode, ScheduledMode::kConservative);
  EXPECT_EQ(lunch.until("2026-06-01 12:30:00"), "2026-06-01 13:00:00");
  EXPECT_EQ(lunch.until("2026-06-01 13:00:00"), "2026-06-02 12:00:00");
}

TEST(QuietHours, AnOvernightWindowBelongsToTheDayItBegins) {
  // 2026-06-01 is a Monday.
  const Schedule night("UTC", {entry({"mon"}, "22:30", "06:00")});
  EXPECT_FALSE(night.off("2026-06-01 05:00:00"));
  EXPECT_FALSE(night.off("2026-06-01 22:29:59"));
  EXPECT_TRUE(night.off("2026-06-01 22:30:00"));
  EXPECT_TRUE(night.off("2026-06-02 05:59:59"));
  EXPECT_FALSE(night.off("2026-06-02 06:00:00"));
  EXPECT_FALSE(night.off("2026-06-02 22:30:00"));
  EXPECT_EQ(night.until("2026-06-02 06:00:00"), "2026-06-08 22:30:00");
}

TEST(QuietHours, NamesOfSeveralDaysAreThoseDays) {
  const Schedule week("UTC", {entry({"weekdays"}, "08:00", "18:00", "conservative"),
                              entry({"sat", "weekend"}, "08:00", "18:00", "aggressive")});
  for (const char* day : {"01", "02", "03", "04", "05"})
    EXPECT_EQ(week.entry_at(std::string("2026-06-") + day + " 09:00:00"), 0U) << day;
  EXPECT_EQ(week.entry_at("2026-06-06 09:00:00"), 1U);
  EXPECT_EQ(week.entry_at("2026-06-07 09:00:00"), 1U);
}

TEST(QuietHours, EachDayHasItsOwnName) {
  const std::vector<std::string> names{"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Schedule one("UTC", {entry({names[i]}, "00:00", "24:00")});
    for (std::size_t day = 0; day < names.size(); ++day)
      EXPECT_EQ(one.off("2026-06-0" + std::to_string(day + 1) + " 12:00:00"), day == i) << names[i];
  }
}

TEST(QuietHours, WithoutDaysItIsEveryDay) {
  const Schedule daily("UTC", {{std::nullopt, "12:00", "13:00", "balanced"}});
  for (char day = '1'; day <= '7'; ++day)
    EXPECT_EQ(daily.entry_at(std::string("2026-06-0") + day + " 12:30:00"), 0U);
}

TEST(QuietHours, WhereWindowsOverlapTheFirstWrittenWins) {
  const Schedule both("UTC", {entry({"daily"}, "12:00", "14:00", "conservative"),
                              entry({"daily"}, "11:00", "13:00", "aggressive")});
  EXPECT_EQ(both.entry_at("2026-06-01 11:30:00"), 1U);
  EXPECT_EQ(both.until("2026-06-01 11:30:00"), "2026-06-01 12:00:00");
  EXPECT_EQ(both.entry_at("2026-06-01 12:30:00"), 0U);
  EXPECT_EQ(both.until("2026-06-01 12:30:00"), "2026-06-01 14:00:00");
}

TEST(QuietHours, AWindowWithinAnEarlierOneIsNeverInForce) {
  const Schedule both("UTC", {entry({"daily"}, "10:00", "14:00", "off"),
                              entry({"daily"}, "11:00", "12:00", "aggressive")});
  EXPECT_EQ(both.entry_at("2026-06-01 11:30:00"), 0U);
  EXPECT_EQ(both.until("2026-06-01 10:30:00"), "2026-06-01 14:00:00");
}

TEST(QuietHours, TheNextChangeIsOneOfModeNotOfEntry) {
  const Schedule parts("UTC", {entry({"mon"}, "18:00", "24:00"), entry({"tue"}, "00:00", "08:00"),
                               entry({"tue"}, "08:00", "09:00", "conservative")});
  EXPECT_EQ(parts.until("2026-06-01 19:00:00"), "2026-06-02 08:00:00");
  EXPECT_EQ(parts.entry_at("2026-06-02 00:00:00"), 1U);
  EXPECT_EQ(parts.until("2026-06-02 08:30:00"), "2026-06-02 09:00:00");
}

TEST(QuietHours, OneModeAroundTheClockNeverChanges) {
  const Schedule always("Europe/Berlin", {entry({"daily"}, "00:00", "24:00")});
  for (const char* moment : {"2026-01-01 00:00:00", "2026-03-29 01:00:00", "2026-10-25 01:00:00"}) {
    EXPECT_TRUE(always.off(moment)) << moment;
    EXPECT_EQ(always.until(moment), "never") << moment;
  }
}

TEST(QuietHours, TheYearsEndIsADayLikeOthers) {
  // 2026-12-31 is a Thursday.
  const Schedule night("Europe/Berlin", {entry({"thu"}, "22:00", "06:00")});
  EXPECT_TRUE(night.off("2026-12-31 23:00:00"));
  EXPECT_TRUE(night.off("2027-01-01 04:59:59"));
  EXPECT_FALSE(night.off("2027-01-01 05:00:00"));
  EXPECT_EQ(night.until("2026-12-31 23:00:00"), "2027-01-01 05:00:00");
}

TEST(QuietHours, ALeapDayHasItsWeekday) {
  // 2028-02-29 is a Tuesday; 2100 has no leap day: 2100-02-28 is a Sunday, 2100-03-01 a Monday.
  const Schedule tuesday("UTC", {entry({"tue"}, "22:00", "06:00")});
  EXPECT_TRUE(tuesday.off("2028-02-29 23:00:00"));
  EXPECT_TRUE(tuesday.off("2028-03-01 05:00:00"));
  const Schedule sunday("UTC", {entry({"sun"}, "22:00", "06:00")});
  EXPECT_TRUE(sunday.off("2100-02-28 23:00:00"));
  EXPECT_TRUE(sunday.off("2100-03-01 05:59:59"));
  EXPECT_EQ(sunday.until("2100-02-28 23:00:00"), "2100-03-01 06:00:00");
}

TEST(QuietHours, RefusesWhatIsNoTimeWithTheEntryTheNameAndTheRange) {
  for (const char* bad : {"", "7:30", "24:00", "12:60", "-1:00", "12.30", "12:3x", " 12:30",
                          "12:30 ", "1234567", "+1:30"}) {
    EXPECT_THAT(faults_of({entry({"mon"}, "01:00", "02:00"), entry({"mon"}, bad, "06:00")}),
                ElementsAre("resources.schedule[1].from: expected HH:MM, 00:00 to 23:59: '" +
                            std::string(bad) + "'"));
  }
  EXPECT_THAT(faults_of({entry({"mon"}, "01:00", "24:01")}),
              ElementsAre("resources.schedule[0].to: expected HH:MM, 00:00 to 24:00: '24:01'"));
}

TEST(QuietHours, RefusesDaysAndModesItDoesNotKnow) {
  EXPECT_THAT(
      faults_of({entry({"mon", "montag", "Tue"}, "01:00", "02:00")}),
      ElementsAre("resources.schedule[0].days: expected days of mon, tue, wed, thu, fri, sat, sun, "
                  "weekdays, weekend, daily: 'montag'",
                  "resources.schedule[0].days: expected days of mon, tue, wed, thu, fri, sat, sun, "
                  "weekdays, weekend, daily: 'Tue'"));
  EXPECT_THAT(faults_of({entry({}, "01:00", "02:00")}),
              ElementsAre("resources.schedule[0].days: expected days of mon, tue, wed, thu, fri, "
                          "sat, sun, weekdays, weekend, daily: '[]'"));
  EXPECT_THAT(faults_of({entry({"mon"}, "01:00", "02:00", "paused")}),
              ElementsAre("resources.schedule[0].mode: expected conservative, balanced, aggressive "
                          "or off: 'paused'"));
}

TEST(QuietHours, RefusesAWindowWithoutALength) {
  EXPECT_THAT(faults_of({entry({"mon"}, "06:00", "06:00")}),
              ElementsAre("resources.schedule[0].to: expected another time than from (a whole day "
                          "is 00:00 to 24:00): '06:00'"));
}

TEST(QuietHours, TellsEveryFaultOfEveryEntryAtOnce) {
  const auto faults = QuietHours::of(
      std::vector<ScheduleEntry>{entry({"never"}, "25:00", "x", "loud"),
                                 entry({"mon"}, "01:00", "02:00"), entry({}, "", "", "")});
  ASSERT_FALSE(faults);
  std::vector<std::string> names;
  for (const ScheduleFault& fault : faults.error())
    names.push_back(std::to_string(fault.entry) + "." + fault.name);
  EXPECT_THAT(names, ElementsAre("0.days", "0.from", "0.to", "0.mode", "2.days", "2.from", "2.to",
                                 "2.mode"));
}

TEST(QuietHours, ShowsAHostileValueOnOneShortLine) {
  const auto faults =
      faults_of({entry({"mon"}, "01:00", "02:00", "a\nb\t" + std::string(1'000'000, 'c'))});
  ASSERT_EQ(faults.size(), 1U);
  EXPECT_LT(faults[0].size(), 160U);
  EXPECT_THAT(faults[0], ::testing::HasSubstr("'a b cc"));
}

TEST(QuietHours, TakesAsManyEntriesAsItSaysAndNotOneMore) {
  std::vector<ScheduleEntry> many(QuietHours::kMaxEntries, entry({"mon"}, "01:00", "02:00"));
  EXPECT_TRUE(QuietHours::of(many));
  many.push_back(many.front());
  EXPECT_THAT(faults_of(many),
              ElementsAre("resources.schedule[64]: expected at most 64 entries: '65 entries'"));
}

TEST(QuietHours, ModesAreNamedAsTheyAreWritten) {
  for (const char* mode : {"conservative", "balanced", "aggressive", "off"}) {
    const Schedule one("UTC", {entry({"daily"}, "00:00", "24:00", mode)});
    EXPECT_EQ(name_of(*one.at(utc("2026-06-01 12:00:00")).mode), mode);
  }
}

// Berlin: 2026-03-29 02:00 becomes 03:00 (01:00 UTC); 2026-10-25 03:00 becomes 02:00 (01:00 UTC).
TEST(QuietHoursInBerlin, ANightIsAnHourShorterInSpringAndLongerInAutumn) {
  const Schedule night("Europe/Berlin", {entry({"sat"}, "22:00", "06:00")});
  EXPECT_EQ(night.until("2026-03-28 20:00:00"), "2026-03-28 21:00:00");
  EXPECT_EQ(night.until("2026-03-28 21:00:00"), "2026-03-29 04:00:00");  // 7 h
  EXPECT_EQ(night.until("2026-10-24 19:00:00"), "2026-10-24 20:00:00");
  EXPECT_EQ(night.until("2026-10-24 20:00:00"), "2026-10-25 05:00:00");  // 9 h
}

TEST(QuietHoursInBerlin, AWindowThatBeginsInTheSkippedHourBeginsAtTheJump) {
  const Schedule early("Europe/Berlin", {entry({"sun"}, "02:30", "05:00")});
  EXPECT_FALSE(early.off("2026-03-29 00:59:59"));
  EXPECT_TRUE(early.off("2026-03-29 01:00:00"));
  EXPECT_EQ(early.until("2026-03-29 01:00:00"), "2026-03-29 03:00:00");
}

TEST(QuietHoursInBerlin, AWindowThatEndsInTheSkippedHourEndsAtTheJump) {
  const Schedule late("Europe/Berlin", {entry({"sat"}, "22:00", "02:30")});
  EXPECT_TRUE(late.off("2026-03-29 00:59:59"));
  EXPECT_FALSE(late.off("2026-03-29 01:00:00"));
}

TEST(QuietHoursInBerlin, AWindowInTheSkippedHourDoesNotComeThatDay) {
  const Schedule skipped("Europe/Berlin", {entry({"sun"}, "02:15", "02:45")});
  EXPECT_EQ(skipped.entry_at("2026-03-29 01:00:00"), std::nullopt);
  EXPECT_EQ(skipped.until("2026-03-28 12:00:00"), "2026-04-05 00:15:00");
}

TEST(QuietHoursInBerlin, AWindowInTheDoubledHourIsOneStretchOverBothPasses) {
  const Schedule doubled("Europe/Berlin", {entry({"sun"}, "02:15", "02:45")});
  EXPECT_FALSE(doubled.off("2026-10-25 00:14:59"));
  EXPECT_TRUE(doubled.off("2026-10-25 00:15:00"));
  EXPECT_TRUE(doubled.off("2026-10-25 00:50:00"));  // 02:50, first pass
  EXPECT_TRUE(doubled.off("2026-10-25 01:44:59"));
  EXPECT_FALSE(doubled.off("2026-10-25 01:45:00"));
  EXPECT_EQ(doubled.until("2026-10-25 00:15:00"), "2026-10-25 01:45:00");
}

TEST(QuietHoursInBerlin, WindowsThatMeetInTheDoubledHourLeaveNoGap) {
  const Schedule meeting("Europe/Berlin", {entry({"daily"}, "22:00", "02:30", "conservative"),
                                           entry({"daily"}, "02:30", "06:00", "off")});
  for (sys_seconds at = utc("2026-10-24 20:00:00"); at < utc("2026-10-25 05:00:00");
       at += minutes(1))
    EXPECT_TRUE(meeting.at(at).mode) << at;
}

// New York: 2026-03-08 02:00 becomes 03:00 (07:00 UTC); 2026-11-01 02:00 becomes 01:00 (06:00 UTC).
TEST(QuietHoursInNewYork, BothChangesOfTheYearAreKept) {
  const Schedule night("America/New_York", {entry({"sat"}, "23:00", "07:00")});
  EXPECT_EQ(night.until("2026-03-08 04:00:00"), "2026-03-08 11:00:00");  // 7 h
  EXPECT_EQ(night.until("2026-11-01 03:00:00"), "2026-11-01 12:00:00");  // 9 h
  const Schedule early("America/New_York", {entry({"sun"}, "01:30", "02:30")});
  EXPECT_EQ(early.until("2026-03-08 06:30:00"), "2026-03-08 07:00:00");
  EXPECT_EQ(early.until("2026-11-01 05:30:00"), "2026-11-01 07:30:00");
}

// Lord Howe: 2026-04-05 02:00 becomes 01:30 (15:00 UTC of the 4th); 2026-10-04 02:00 becomes 02:30
// (15:30 UTC of the 3rd).
TEST(QuietHoursOnLordHowe, TheChangeIsHalfAnHour) {
  const Schedule night("Australia/Lord_Howe", {entry({"sat"}, "22:00", "06:00")});
  EXPECT_EQ(night.until("2026-04-04 11:00:00"), "2026-04-04 19:30:00");  // 8 h 30
  EXPECT_EQ(night.until("2026-10-03 11:30:00"), "2026-10-03 19:00:00");  // 7 h 30
  const Schedule doubled("Australia/Lord_Howe", {entry({"sun"}, "01:40", "01:50")});
  EXPECT_EQ(doubled.until("2026-04-04 14:40:00"), "2026-04-04 15:20:00");
  const Schedule skipped("Australia/Lord_Howe", {entry({"sun"}, "02:10", "02:20")});
  EXPECT_EQ(skipped.until("2026-10-03 12:00:00"), "2026-10-10 15:10:00");
}

TEST(QuietHours, AZoneThatNeverChangesHasItsHoursAlways) {
  const Schedule night("Asia/Kolkata", {entry({"daily"}, "22:00", "06:00")});
  for (const char* day : {"2026-01-15", "2026-03-29", "2026-07-15", "2026-10-25"})
    EXPECT_EQ(night.until(std::string(day) + " 12:00:00"), std::string(day) + " 16:30:00");
}

// Apia went from Thursday, 2011-12-29 to Saturday, 2011-12-31 (10:00 UTC of the 30th).
TEST(QuietHoursInApia, ADayThatTheZoneDroppedHasNoWindow) {
  const Schedule friday("Pacific/Apia", {entry({"fri"}, "09:00", "17:00")});
  EXPECT_EQ(friday.until("2011-12-30 09:00:00"), "2012-01-05 19:00:00");
  const Schedule thursday("Pacific/Apia", {entry({"thu"}, "22:00", "06:00")});
  EXPECT_EQ(thursday.until("2011-12-30 09:00:00"), "2011-12-30 10:00:00");
}

// Havana's clocks go back at 01:00 to 00:00: its midnight comes twice.
TEST(QuietHoursInHavana, AWindowToMidnightLastsToTheSecondOne) {
  const Schedule evening("America/Havana", {entry({"sat"}, "22:00", "24:00")});
  EXPECT_EQ(evening.until("2026-11-01 02:00:00"), "2026-11-01 05:00:00");
}

// What the clock on the wall shows decides, wherever clocks do not change: said again minute by
// minute, without intervals.
bool covers(int from, int to, std::chrono::weekday day, bool weekday_of_from[7], int minute) {
  const auto today = day.c_encoding();
  const auto yesterday = (day - std::chrono::days(1)).c_encoding();
  if (from < to) return weekday_of_from[today] && from <= minute && minute < to;
  return (weekday_of_from[today] && from <= minute) || (weekday_of_from[yesterday] && minute < to);
}

std::string time_of(int minute) { return format_text("{:02}:{:02}", minute / 60, minute % 60); }

TEST(QuietHours, AgreeWithAPlainReadingOfTheClock) {
  const std::vector<std::string> names{"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
  std::mt19937 random(4);
  for (int round = 0; round < 200; ++round) {
    bool on[7] = {};
    std::vector<std::string> days;
    for (std::size_t d = 0; d < 7; ++d)
      if ((on[d] = random() % 2 == 0)) days.push_back(names[d]);
    const int from = static_cast<int>(random() % 1440);
    const int to = static_cast<int>(random() % 1440);
    if (days.empty() || from == to) continue;
    const Schedule one("Asia/Kolkata", {entry(days, time_of(from), time_of(to))});
    const sys_seconds start = utc("2026-06-01 00:00:00") + minutes(random() % 20'000);
    const auto offset = hours(5) + minutes(30);
    const auto plain = [&](sys_seconds moment) {
      const auto local = moment + offset;
      const auto midnight = std::chrono::floor<std::chrono::days>(local);
      const auto minute = std::chrono::duration_cast<minutes>(local - midnight).count();
      return covers(from, to, std::chrono::weekday(midnight), on, static_cast<int>(minute));
    };
    const ScheduleState state = one.at(start);
    ASSERT_EQ(state.mode.has_value(), plain(start));
    ASSERT_TRUE(state.until);
    for (sys_seconds at = start; at < *state.until; at += minutes(1))
      ASSERT_EQ(plain(at), state.mode.has_value()) << at;
    ASSERT_NE(plain(*state.until), state.mode.has_value()) << *state.until;
    ASSERT_EQ(one.at(*state.until - kSecond).mode, state.mode);
    ASSERT_NE(one.at(*state.until).mode, state.mode);
  }
}

}  // namespace
}  // namespace gogrid
