"""What the demo knows of countries: the continent of each, and which airport is the busiest of the larger ones.

Codes are ISO 3166-1 alpha-2, and XK for Kosovo. Continents follow the regions of the United Nations (M49).
"""

from typing import Final

_CONTINENTS: Final = {
    "Africa": """AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW IO KE KM LR LS LY MA MG ML MR MU MW MZ NA
        NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW""",
    "Antarctica": "AQ BV GS HM TF",
    "Asia": """AE AF AM AZ BD BH BN BT CN CY GE HK ID IL IN IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP OM PH PK PS
        QA SA SG SY TH TJ TL TM TR TW UZ VN YE""",
    "Europe": """AD AL AT AX BA BE BG BY CH CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK MT NL
        NO PL PT RO RS RU SE SI SJ SK SM UA VA XK""",
    "North America": """AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX
        TC TT US VC VG VI""",
    "Oceania": "AS AU CC CK CX FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS",
    "South America": "AR BO BR CL CO EC FK GF GY PE PY SR UY VE",
}

CONTINENT_OF: Final = {country: continent for continent, countries in _CONTINENTS.items() for country in countries.split()}
"""The continent of each country."""

BUSIEST: Final = {
    country: iata
    for country, _, iata in (
        entry.partition("=")
        for entry in """AE=DXB AO=LAD AR=AEP AT=VIE AU=SYD BD=DAC BE=BRU BF=OUA BG=SOF BJ=COO BO=VVI BR=GRU BW=GBE CA=YYZ
        CD=FIH CG=BZV CH=ZRH CI=ABJ CL=SCL CN=CAN CO=BOG CR=SJO CU=HAV CZ=PRG DE=FRA DK=CPH DO=PUJ DZ=ALG EC=UIO
        EE=TLL EG=CAI ES=MAD ET=ADD FI=HEL FR=CDG GB=LHR GH=ACC GL=GOH GR=ATH GT=GUA HN=SAP HR=ZAG HU=BUD ID=CGK
        IE=DUB IL=TLV IN=DEL IQ=BGW IR=THR IS=KEF IT=FCO JP=HND KE=NBO KG=BSZ KR=ICN KZ=ALA LA=VTE LK=CMB LT=VNO
        LV=RIX MA=CMN MG=TNR ML=BKO MM=RGN MV=MLE MX=MEX MY=KUL MZ=MPM NA=WDH NG=LOS NL=AMS NO=OSL NP=KTM NZ=AKL
        OM=MCT PA=PTY PE=LIM PG=POM PH=MNL PK=KHI PL=WAW PT=LIS PY=ASU RO=OTP RS=BEG RU=SVO SA=JED SD=KRT SE=ARN
        SK=BTS SN=DSS SS=JUB TH=BKK TN=TUN TR=IST TW=TPE TZ=DAR UA=KBP US=ATL UY=MVD UZ=TAS VE=CCS VN=SGN ZA=JNB
        ZM=LUN ZW=HRE""".split()
    )
}
"""The IATA code of the airport with the most passengers, where a country has many airports and the data do not say which."""
