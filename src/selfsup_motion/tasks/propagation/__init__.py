"""Labels followed through video: DAVIS-2017, JHMDB."""
