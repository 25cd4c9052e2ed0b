# One library a folder, its sources listed by hand, its links the table of
# docs/ARCHITECTURE.md. Warnings and sanitizers apply to our own targets only.

find_package(Threads REQUIRED)

# Paths relative to the source folder, so that several checkouts share one cache.
if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(ccache_program ccache)
  if(ccache_program)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${ccache_program})
  endif()
endif()

add_library(pensieve_options INTERFACE)
target_compile_features(pensieve_options INTERFACE cxx_std_23)
# Two false alarms of g++ 12: an overlap in std::string's operator+, and Asio's own allocation of coroutine frames.
target_compile_options(pensieve_options INTERFACE -Wall -Wextra -Wshadow -Wconversion -Werror
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> $<$<CXX_COMPILER_ID:GNU>:-Wno-mismatched-new-delete>
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>)
target_include_directories(pensieve_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(pensieve_options INTERFACE Threads::Threads)
if(PENSIEVE_SANITIZE)
  target_compile_options(pensieve_options INTERFACE -fsanitize=${PENSIEVE_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all -g1)
  # Under AddressSanitizer g++ 12 takes libstdc++'s own <regex> (in minja) for uninitialised.
  if(PENSIEVE_SANITIZE MATCHES "address")
    target_compile_options(pensieve_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  endif()
  target_link_options(pensieve_options INTERFACE -fsanitize=${PENSIEVE_SANITIZE})
endif()
if(PENSIEVE_SANITIZE STREQUAL "thread")
  # Asio's fences: g++ says of each that TSan does not see it. Asio's locks, which it sees, do the work.
  target_compile_options(pensieve_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)
endif()
if(PENSIEVE_FUZZ)
  target_compile_options(pensieve_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)

# pensieve_library(NAME SOURCES a.cpp ... [TESTS a_test.cpp ...] [LINKS libs ...] [PRIVATE_LINKS libs ...])
# makes the static library pensieve_NAME and, from TESTS, the test program NAME_test.
function(pensieve_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;TESTS;LINKS;PRIVATE_LINKS" ${ARGN})
  if(arg_SOURCES)
    add_library(pensieve_${name} STATIC ${arg_SOURCES})
    target_link_libraries(pensieve_${name} PUBLIC pensieve_options ${arg_LINKS} PRIVATE ${arg_PRIVATE_LINKS})
  else()
    add_library(pensieve_${name} INTERFACE)
    target_link_libraries(pensieve_${name} INTERFACE pensieve_options ${arg_LINKS})
  endif()
  if(arg_TESTS)
    pensieve_test(${name}_test SOURCES ${arg_TESTS} LINKS pensieve_${name})
  endif()
endfunction()

function(pensieve_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE pensieve_options ${arg_LINKS})
endfunction()

# What `make asan` and `make tsan` build: the test programs and what the sanitized e2e suites start.
add_custom_target(test_programs)

# pensieve_test(NAME SOURCES ... LINKS ...): a GoogleTest program, one ctest entry.
function(pensieve_test name)
  pensieve_program(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_dependencies(test_programs ${name})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 300)
endfunction()
