// 128-bit integers, which both compilers have as an extension.
#pragma once

namespace backplane {

__extension__ typedef unsigned __int128 Uint128;
__extension__ typedef __int128 Int128;

}  // namespace backplane
