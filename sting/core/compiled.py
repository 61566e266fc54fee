"""How the functions of the core are compiled."""

from functools import cached_property, lru_cache, update_wrapper

import jax

#: What the compiler is told. Fused kernels of our sizes run no faster as LLVM IR that was made by way of MLIR, and take twice as
#: long to compile.
OPTIONS = {"xla_cpu_use_fusion_emitters": False}


@lru_cache(maxsize=1)
def usable_options():
    """`OPTIONS`, or none if the compiler that is installed does not know them."""
    try:
        jax.jit(lambda: 0, compiler_options=OPTIONS)()
    except jax.errors.JaxRuntimeError:
        return None
    return OPTIONS


class Compiled:
    """A function that is compiled when it is called, with `OPTIONS`. Inside of another one its ``__wrapped__`` is to be called."""

    def __init__(self, function, static_argnames):
        update_wrapper(self, function)
        self._static = static_argnames

    @cached_property
    def jitted(self):
        """The function as JAX compiles it; made late, since importing the package must not start JAX."""
        return jax.jit(self.__wrapped__, static_argnames=self._static, compiler_options=usable_options())

    def __call__(self, *args, **keywords):
        """Call the compiled function."""
        return self.jitted(*args, **keywords)


def compiled(function, static_argnames=("settings",)):
    """Compile a function of the core whose static arguments are named, ``settings`` if it has no others."""
    return Compiled(function, static_argnames)
