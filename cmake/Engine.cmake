# Finds the engine, libllama, and makes two targets:
#   engine_headers   llama.h, ggml.h and minja
#   engine_runtime   what a program that runs the engine links
#
# The private runtime, where scripts/engine-runtime unpacked one under build/engine;
# else the system's libllama. The private one was built against a newer C
# library than the host's, so programs that use it carry their own loader
# (--dynamic-linker) and an old-style rpath, which unlike a RUNPATH is inherited
# by the libraries they load.

set(PENSIEVE_ENGINE_DIR ${CMAKE_SOURCE_DIR}/build/engine CACHE PATH "Where scripts/engine-runtime unpacked the engine")

add_library(engine_headers INTERFACE)
add_library(engine_runtime INTERFACE)
target_link_libraries(engine_runtime INTERFACE engine_headers)

set(private_root ${PENSIEVE_ENGINE_DIR}/root)
if(EXISTS ${private_root}/.complete)
  set(private_lib ${private_root}/usr/lib/x86_64-linux-gnu)
  if(NOT EXISTS ${private_lib})
    file(GLOB private_lib ${private_root}/usr/lib/*-linux-gnu*)
  endif()
  file(GLOB private_loader ${private_lib}/ld-linux*.so.* ${private_root}/usr/lib/ld-linux*.so.* ${private_root}/usr/lib64/ld-linux*.so.*)
  list(GET private_loader 0 private_loader)
  # After the host's own: the folder also holds another nlohmann-json.
  target_compile_options(engine_headers INTERFACE SHELL:-idirafter\ ${private_root}/usr/include)
  target_link_libraries(engine_runtime INTERFACE ${private_lib}/libmtmd.so ${private_lib}/libllama.so ${private_lib}/libggml.so)
  target_link_options(engine_runtime INTERFACE
    -Wl,--allow-shlib-undefined -Wl,--disable-new-dtags -Wl,-rpath,${private_lib}
    -Wl,--dynamic-linker,${private_loader}
    -Wl,--no-as-needed ${private_lib}/libggml-base.so ${private_lib}/libggml.so -Wl,--as-needed)
  set(PENSIEVE_ENGINE_PLUGINS ${private_lib}/ggml/backends0)
  set(PENSIEVE_ENGINE_TOOLS ${private_root}/usr/bin)
  message(STATUS "Engine: private runtime in ${PENSIEVE_ENGINE_DIR}")
else()
  find_package(llama CONFIG QUIET)
  if(NOT llama_FOUND)
    message(FATAL_ERROR "No libllama: run scripts/engine-runtime (make build does), or install libllama-dev.")
  endif()
  find_library(mtmd_library mtmd REQUIRED)
  target_link_libraries(engine_runtime INTERFACE ${mtmd_library} llama)
  find_path(ggml_plugins_parent backends0 PATHS /usr/lib/${CMAKE_CXX_LIBRARY_ARCHITECTURE}/ggml /usr/lib/ggml NO_DEFAULT_PATH)
  set(PENSIEVE_ENGINE_PLUGINS "")
  if(ggml_plugins_parent)
    set(PENSIEVE_ENGINE_PLUGINS ${ggml_plugins_parent}/backends0)
  endif()
  set(PENSIEVE_ENGINE_TOOLS /usr/bin)
  message(STATUS "Engine: the system's libllama")
endif()
# Where the CPU and GPU plug-ins lie; empty: the engine looks itself.
target_compile_definitions(engine_runtime INTERFACE PENSIEVE_ENGINE_PLUGINS="${PENSIEVE_ENGINE_PLUGINS}")
