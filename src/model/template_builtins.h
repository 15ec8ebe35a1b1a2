// Filters, tests, methods and operators of the chat template language. Pure: values in, values out;
// whatever they make or walk over is taken from the budget. All throw TemplateError.
#pragma once

#include <string_view>

#include "model/template_value.h"

namespace gogrid::jinja {

// `value | name(…)`: positional[0] is the value.
Value apply_filter(std::string_view name, const Arguments& arguments, Budget& budget);
// `value is name(…)`: positional[0] is the value.
bool apply_test(std::string_view name, const Arguments& arguments, Budget& budget);
// `object.name(…)`.
Value call_method(const Value& object, std::string_view name, const Arguments& arguments,
                  Budget& budget);

// + - * / // % ** ~
Value apply_operator(std::string_view name, const Value& left, const Value& right, Budget& budget);
bool contains(const Value& whole, const Value& part, Budget& budget);

// What a name means that the template has not set; undefined when it means nothing.
// range, dict, raise_exception, strftime_now, joiner.
Value global_function(std::string_view name, Budget& budget);

// object.name and object[key]: undefined when absent, an error on what is undefined itself.
Value attribute_of(const Value& object, std::string_view name, Budget& budget);
Value item_of(const Value& object, const Value& key, Budget& budget);
// object[first:last:step]; undefined or none: absent.
Value slice_of(const Value& object, const Value& first, const Value& last, const Value& step,
               Budget& budget);

// What a loop goes through: items, keys, characters. Nothing for what is undefined.
std::vector<Value> iterate(const Value& value, Budget& budget);

}  // namespace gogrid::jinja
